import os
from pathlib import Path

from ossmount.daemon.order import Order
from ossmount.options import declarations as options
from ossmount.options.settings import Given, Settings
from ossmount.options.source import Source


def test_an_order_survives_the_way_to_another_process() -> None:
    settings = Settings({"umask": Given("077", "-o umask"), "allow_other": Given("true", "--allow-other")})
    mountpoint = os.fsdecode(b"/mnt/a b\xff")
    order = Order(Source("bucket", b"a/\xff/"), mountpoint, settings, Path("/state"), "/log")
    again = Order.from_json(order.to_json())
    assert (again.source, again.mountpoint, again.state, again.log) == (order.source, mountpoint, Path("/state"), "/log")
    assert again.settings.shown() == settings.shown()
    assert again.settings.origin(options.UMASK) == "-o umask"
