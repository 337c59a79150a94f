"""Loading parts of oss2: what is loaded, what is not, and that oss2 itself stays whole for others."""

from __future__ import annotations

import subprocess
import sys

_LOADED = """
import sys
from ossmount.oss import sdk
parts = sdk.load()
request = parts.http.Request("GET", "http://bucket.host/key", params={}, product="oss", region="cn-hangzhou")
assert request.headers["user-agent"].startswith("aliyun-sdk-python/"), request.headers
loaded = [name for name in sys.modules if name.partition(".")[0] in ("oss2", "aliyunsdkcore", "aliyunsdkkms")]
assert not loaded, loaded
import oss2
import oss2.http
assert issubclass(oss2.http.Session, object) and oss2.Session is oss2.http.Session
assert oss2.utils.Crc64(0) is not None and oss2.Auth("id", "secret") is not None
assert parts.http.__version__ == oss2.__version__, parts.http.__version__
assert sdk.load().http is oss2.http
print("whole")
"""


def test_only_parts_are_loaded_and_oss2_stays_whole_for_others() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("whole\n", 0), done.stderr


def test_encryption_and_crc_work_when_they_are_used() -> None:
    program = (
        "import types; from ossmount.oss import sdk; "
        "utils = types.SimpleNamespace(**sdk.load().http.SizedFileAdapter.__init__.__globals__); "
        "crc = utils.Crc64(0); crc.update(b'123456789'); assert crc.crc == 0x995DC9BBDF1939FA, crc.crc; "
        "assert len(utils.random_key(32)) == 32; print('works')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("works\n", 0), done.stderr
