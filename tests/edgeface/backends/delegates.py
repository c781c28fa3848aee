"""Small shared libraries with the entry points of a delegate, and a model for them, made by the test.

`accepting` computes for real: it takes the compiler's operator out of the graph and fills its output. The
structures are the beginnings of those in tensorflow/lite/core/c/common.h, whose order is kept by promise.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeface.bundle import Bundle, InputSpec, ModelSpec, OutputSpec, encode_bundle
from edgeface.cli.compile import _header
from tests.bundles import TINY

_HEAD = """
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef void (*Report)(const char*);
#define CREATE void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, Report report)
#define DESTROY void tflite_plugin_destroy_delegate(void* delegate)
"""

REFUSING = """
CREATE { report("no TPU answers, "); report(count ? values[0] : "any"); return NULL; }
DESTROY { abort(); }
"""
SILENT = "CREATE { return NULL; } DESTROY { abort(); }"
CRASHING = "CREATE { *(volatile int*)8 = 1; return NULL; } DESTROY {}"
HANGING = "CREATE { for (;;) ; } DESTROY {}"
NO_ENTRY = "int something_else(void) { return 1; }"
UNDEFINED = (
    "void absent_from_every_library(void); CREATE { absent_from_every_library(); return 0; } DESTROY {}"
)
OLD_BUILD = (
    SILENT
    + """
const char* edgetpu_version(void) {
  return "BuildLabel(COMPILER=6.3.0 20170516,DATE=redacted,TIME=redacted), RuntimeVersion(14)";
}
"""
)

ACCEPTING = """
typedef struct { int size; int data[]; } Ints;
typedef struct {
  int type; unsigned char* data; Ints* dims; float scale; int zero; int kind; size_t bytes;
  void* allocation; char* name; void* delegate; int handle; char stale, variable;
  struct { int type; void* params; } quantization; void* sparsity; Ints* signature;
} Tensor;
typedef struct { Ints* inputs; Ints* outputs; } Node;
typedef struct Context Context;
typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*release)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling)(const Context*, const Node*);
  int32_t builtin; const char* custom_name; int version; void* room[8];
} Registration;
typedef struct Delegate Delegate;
struct Context {
  size_t tensors_size;
  int (*plan)(Context*, Ints**);
  Tensor* tensors;
  void* impl;
  void* resize; void* report; void* add;
  int (*node)(Context*, int, Node**, Registration**);
  int (*replace)(Context*, Registration, const Ints*, Delegate*);
};
struct Delegate {
  void* data; int (*Prepare)(Context*, Delegate*); void* copies[3]; int64_t flags; void* builder;
};
static int destroyed = 0;
int times_destroyed(void) { return destroyed; }
static int ready(Context* c, Node* n) { return 0; }
static int calls = 0;
static int invoke(Context* c, Node* n) {
  Tensor* in = &c->tensors[n->inputs->data[0]];
  Tensor* out = &c->tensors[n->outputs->data[0]];
  if (LOST_AFTER && ++calls > LOST_AFTER) return 1;
  for (size_t i = 0; i < out->bytes; i++) {
    signed char sum = 0;
    for (size_t k = i; k < in->bytes; k += out->bytes) sum += (signed char)in->data[k];
    out->data[i] = (unsigned char)sum;
  }
  return 0;
}
static int prepare(Context* c, Delegate* d) {
  Ints* plan;
  if (c->plan(c, &plan)) return 1;
  Ints* mine = malloc(sizeof(Ints) + plan->size * sizeof(int));
  mine->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node* n; Registration* r;
    if (c->node(c, plan->data[i], &n, &r)) return 1;
    if (r->custom_name && !strcmp(r->custom_name, "edgetpu-custom-op"))
      mine->data[mine->size++] = plan->data[i];
  }
  Registration r;
  memset(&r, 0, sizeof r);
  r.prepare = ready; r.invoke = invoke; r.custom_name = "TestDelegate"; r.version = 1;
  int status = mine->size ? c->replace(c, r, mine, d) : 0;
  free(mine);
  return status;
}
/* The flag of libedgetpu's own delegate: without it the operator is prepared before it is taken out. */
CREATE { Delegate* d = calloc(1, sizeof *d + 256); d->Prepare = prepare; d->flags = 1; return d; }
DESTROY { destroyed++; free(delegate); }
"""

HEIGHT, WIDTH, CHANNELS = 6, 4, 8
SPEC = ModelSpec(
    task="expression",
    artifact="expression_edgetpu.tflite",
    format="edgetpu",
    precision="int8",
    input=InputSpec("image", (1, HEIGHT, WIDTH, 3), "int8", 1 / 128, 0, 128),
    outputs=(OutputSpec("logits", 0, (1, 1, 1, CHANNELS), "int8", 0.5, 3),),
    crop=None,
    head={},
    labels=None,
)


def build(folder: Path, source: str, *more: str, lost_after: int = 0) -> str:
    """Compile a library; the test is skipped where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (gcc)")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "delegate.c").write_text(f"{_HEAD}#define LOST_AFTER {lost_after}\n{source}")
    library = folder / "libdelegate.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(folder / "delegate.c")]
    subprocess.run([*command, *more], check=True, timeout=60)
    return str(library)


def compiled_model(*, with_relu: bool = False, custom_op: str = "edgetpu-custom-op") -> bytes:
    """A .tflite of one operator of the Edge TPU's compiler, with `with_relu` one that it left to the CPU."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: tuple[int, ...], scale: float, zero: int) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.INT8, 0
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        return made

    def operator(code: int, source: int, target: int) -> schema.OperatorT:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, [source], [target]
        return made

    codes = [schema.OperatorCodeT(), schema.OperatorCodeT()]
    codes[0].builtinCode = codes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    codes[0].customCode, codes[0].version = custom_op, 1
    codes[1].builtinCode = codes[1].deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    codes[1].version = 1
    image, output = SPEC.input, SPEC.outputs[0]
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("image", image.shape, image.scale, image.zero_point),
        tensor("logits", output.shape, output.scale, output.zero_point),
        tensor("positive", output.shape, output.scale, output.zero_point),
    ]
    graph.inputs, graph.outputs = [0], [2 if with_relu else 1]
    graph.operators = [operator(0, 0, 1)] + ([operator(1, 1, 2)] if with_relu else [])
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, codes, [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def bundle_bytes(golden: str | None = None) -> bytes:
    """A bundle that an Edge TPU alone opens: `compiled_model`, with the digest of its right answer."""
    header = _header(Bundle.load(TINY), {SPEC.task: dataclasses.replace(SPEC, golden=golden)})
    return encode_bundle({**header, "cards": {}}, {SPEC.artifact: compiled_model()})


def bundle(golden: str | None = None) -> Bundle:
    """The same, loaded."""
    return Bundle.from_bytes(bundle_bytes(golden))


def expected(image: np.ndarray) -> np.ndarray:
    """What `ACCEPTING` computes: sums of every eighth value, in int8 with wrap-around."""
    return image.reshape(-1, CHANNELS).sum(0, dtype=np.int8).reshape(1, 1, 1, CHANNELS)
