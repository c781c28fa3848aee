#!/bin/sh
# A command in a root of another processor; firmware/emulation/guest.py starts it in a mount namespace of its own.
#
#   enter.sh SCRATCH ROOT EMULATOR SYS BINFMT SOURCE=TARGET... -- COMMAND...
#
# SCRATCH is an empty folder. What the command writes goes to memory and is gone afterwards: ROOT stays as it is,
# and so does what is mounted at TARGET. With SYS=no /sys stays empty. With BINFMT=yes the kernel starts the
# programs that the command starts, too; the registration is this namespace's own and ends with it.
set -eu

scratch=$1 root=$2 emulator=$3 sys=$4 binfmt=$5
shift 5

mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root

if [ "$binfmt" = yes ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    # The header of a 64-bit ELF file for ARM, its mask, and F: the emulator is opened now, outside the root.
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":aarch64:M::$magic:$mask:$emulator:F" >/proc/sys/fs/binfmt_misc/register
fi

mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ "$sys" = yes ]; then mount --rbind /sys "$root/sys"; fi
while [ "$1" != -- ]; do
    target=$root${1##*=}
    if [ -d "${1%=*}" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && : >"$target"; fi
    mount --bind -o ro "${1%=*}" "$target"
    shift
done
shift

if [ "$binfmt" = yes ]; then exec chroot "$root" "$@"; fi
cp "$emulator" "$root/emulator"
exec chroot "$root" /emulator "$@"
