from pathlib import Path

import triggers.firmware
from triggers.firmware import constants


def test_the_firmware_s_constants_are_the_host_s():
    committed = (Path(triggers.firmware.__file__).parent / "protocol.h").read_text()
    assert committed == constants.header(), "run python -m triggers.firmware.constants > triggers/firmware/protocol.h"


def test_a_message_s_lines():
    lines = constants.header().splitlines()
    assert "#define WIRE_PULSE_TRAIN 0x10" in lines
    assert "#define WIRE_PULSE_TRAIN_BYTES 19" in lines
    assert "#define WIRE_PULSE_TRAIN_AT_EXPIRES_MS 15" in lines
    assert "#define WIRE_IDENTITY_AT_NAME 13" in lines
    assert "#define WIRE_FIRE_BODY_BYTES 4" in lines
    assert "#define WIRE_FIRE_AHEAD_MS 0x3FFF" in lines
    assert "#define WIRE_REASON_MAX_DUTY 7" in lines
    assert "#define WIRE_END_DEAD_MAN 3" in lines
    assert "#define WIRE_HEADER_BYTES 6 /* Version, type, id. */" in lines
