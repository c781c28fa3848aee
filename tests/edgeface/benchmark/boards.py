"""Trees of boards that are not here, below a folder."""

from __future__ import annotations

from pathlib import Path


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def pi5(root: Path) -> Path:
    cpus = {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": "2400000\n" for n in range(4)}
    return write(
        root,
        {
            **cpus,
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
            "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\nCPU part : 0xd0b\n\n" * 4,
            "proc/meminfo": "MemTotal:        8255344 kB\nMemFree: 1 kB\n",
            "proc/loadavg": "0.52 0.40 0.31 1/234 5678\n",
            "proc/stat": "cpu  100 0 100 1000 0 0 0 0 0 0\n",
            "proc/self/status": "Name: python3\nVmHWM:   90112 kB\nVmRSS:   81920 kB\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "61250\n",
            "sys/devices/platform/axi/axi:firmware/get_throttled": "0\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
        },
    )


def orin(root: Path) -> Path:
    hwmon = "sys/class/hwmon/hwmon3"
    return write(
        root,
        {
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n",
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
            "proc/cpuinfo": "Features : fp asimd asimddp\nCPU part : 0xd42\n\n" * 6,
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "49281\n",
            "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
            "sys/class/thermal/thermal_zone2/temp": "-256000\n",
            "sys/class/thermal/thermal_zone8/type": "tj-thermal\n",
            "sys/class/thermal/thermal_zone8/temp": "51000\n",
            f"{hwmon}/name": "ina3221\n",
            f"{hwmon}/in1_label": "VDD_IN\n",
            f"{hwmon}/in1_input": "5040\n",
            f"{hwmon}/curr1_input": "1144\n",
            f"{hwmon}/in2_label": "VDD_CPU_GPU_CV\n",
            f"{hwmon}/in2_input": "5040\n",
            f"{hwmon}/curr2_input": "304\n",
        },
    )
