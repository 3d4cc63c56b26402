import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "triggers" / "firmware"
CORE = Path("/usr/share/arduino/hardware/arduino/avr")


@pytest.mark.parametrize(("mcu", "ram_bytes"), [("atmega328p", 2048), ("atmega2560", 8192)])
def test_it_builds_without_an_arduino_core_and_leaves_room_for_the_stack(build, mcu, ram_bytes):
    elf = build(mcu)
    text, data, bss, *_ = subprocess.check_output(["avr-size", str(elf)], text=True).splitlines()[1].split()
    assert int(text) < 20_480  # Of 32,256 beside an Uno's boot loader.
    assert int(data) + int(bss) < ram_bytes // 2
    symbols = subprocess.check_output(["avr-nm", str(elf)], text=True)
    assert "malloc" not in symbols


@pytest.mark.parametrize(
    ("variant", "mcu", "flags"),
    [
        pytest.param("standard", "atmega328p", ["-DARDUINO_AVR_UNO"], id="uno"),
        pytest.param("mega", "atmega2560", ["-DARDUINO_AVR_MEGA2560"], id="mega"),
        pytest.param(
            "leonardo",
            "atmega32u4",
            ["-DARDUINO_AVR_LEONARDO", "-DUSB_VID=0x2341", "-DUSB_PID=0x8036", "-DUSBCON"],
            id="leonardo",
        ),
    ],
)
def test_it_compiles_with_an_arduino_core(avr_gcc, tmp_path, variant, mcu, flags):
    if not CORE.exists():
        pytest.skip("the Arduino core is not installed (Debian: arduino-core-avr)")
    folders = [f"-I{CORE / 'cores' / 'arduino'}", f"-I{CORE / 'variants' / variant}"]
    options = ["-std=gnu++11", "-Os", "-Wall", "-fno-exceptions", "-fno-threadsafe-statics", f"-mmcu={mcu}"]
    defines = ["-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_ARCH_AVR", *flags]
    sketch = ["-include", "Arduino.h", "-x", "c++", str(SOURCE / "firmware.ino")]  # As the Arduino IDE does.
    subprocess.run([avr_gcc, *options, *defines, *folders, *sketch, "-c", "-o", str(tmp_path / "sketch.o")], check=True)


@pytest.mark.parametrize("cap", ["CAP_MAX_DUTY_PERMILLE=1001", "CAP_DEAD_MAN_MS=65536UL", "CAP_DUTY_WINDOW_MS=65536UL"])
def test_a_cap_that_the_protocol_cannot_tell_does_not_build(avr_gcc, cap):
    command = [avr_gcc, "-x", "c++", "-std=gnu++11", "-mmcu=atmega328p", "-DF_CPU=16000000UL", f"-D{cap}"]
    built = subprocess.run(
        [*command, "-fsyntax-only", str(SOURCE / "firmware.ino")], capture_output=True, text=True, check=False
    )
    assert "a cap is larger than its field in the protocol" in built.stderr
