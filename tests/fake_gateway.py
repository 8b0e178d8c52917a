"""A gateway that speaks UPnP IGD: `python -m tests.fake_gateway HOST [BEHAVIOUR...]`.

Answers searches and serves its description and the WANIPConnection service on HOST. Prints "up",
then one line for each search and action. Behaviours:

    elsewhere       names a description at another host
    control=URL     the control address in its description
    permanent       knows permanent leases only
    taken=PORT      that external port leads to another host for UDP
    conflict=PORT   the same for UDP, and only says so when it is asked for
    address=IP      its external address
    hang            takes requests for the control address and never answers
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTTP_PORT = 5000
SSDP = ("239.255.255.250", 1900)
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DEVICES = "urn:schemas-upnp-org:device:"
DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>{devices}InternetGatewayDevice:1</deviceType><friendlyName>fake</friendlyName>
<deviceList><device><deviceType>{devices}WANDevice:1</deviceType>
<serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType>
<controlURL>/common</controlURL></service></serviceList>
<deviceList><device><deviceType>{devices}WANConnectionDevice:1</deviceType>
<serviceList><service><serviceType>{service}</serviceType>
<controlURL>{control}</controlURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>"""
ENVELOPE = """<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>
"""
FAULT = (
    "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError>"
    "<errorCode>{code}</errorCode><errorDescription>x</errorDescription></UPnPError></detail>"
    "</s:Fault>"
)
CONFLICT = 718
NO_SUCH_ENTRY = 714
PERMANENT_ONLY = 725
OTHER_HOST = "10.9.9.9"

host = sys.argv[1]
behaviours = dict(argument.partition("=")[::2] for argument in sys.argv[2:])
mappings: dict[tuple[str, str], tuple[str, str, str]] = {}
if "taken" in behaviours:
    mappings[behaviours["taken"], "UDP"] = (OTHER_HOST, "1", "0")


def say(*words: str) -> None:
    print(*words, flush=True)


class Refused(Exception):
    """With the UPnP error code."""


def act(action: str, arguments: dict[str, str]) -> dict[str, str]:
    """Carries an action out."""
    if action == "GetExternalIPAddress":
        return {"NewExternalIPAddress": behaviours.get("address", "198.51.100.7")}
    key = arguments["NewExternalPort"], arguments["NewProtocol"]
    if action == "GetSpecificPortMappingEntry":
        if key not in mappings:
            raise Refused(NO_SUCH_ENTRY)
        client, port, lease = mappings[key]
        return {
            "NewInternalPort": port,
            "NewInternalClient": client,
            "NewEnabled": "1",
            "NewPortMappingDescription": "x",
            "NewLeaseDuration": lease,
        }
    if action == "DeletePortMapping":
        if mappings.pop(key, None) is None:
            raise Refused(NO_SUCH_ENTRY)
        return {}
    assert action == "AddPortMapping", action
    lease = arguments["NewLeaseDuration"]
    if key == (behaviours.get("conflict"), "UDP"):
        raise Refused(CONFLICT)
    if "permanent" in behaviours and lease != "0":
        raise Refused(PERMANENT_ONLY)
    mappings[key] = (arguments["NewInternalClient"], arguments["NewInternalPort"], lease)
    return {}


class Handler(BaseHTTPRequestHandler):
    """The description and the service."""

    def do_GET(self) -> None:
        control = behaviours.get("control", "/control")
        text = DESCRIPTION.format(devices=DEVICES, service=SERVICE, control=control)
        self._answer(200, text)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        action = self.headers["SOAPAction"].strip('"').partition("#")[2]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        if "hang" in behaviours:
            say(action)
            time.sleep(60)
        try:
            answer = act(action, arguments)
        except Refused as refused:
            say(action, *arguments.values(), "refused")
            self._answer(500, ENVELOPE.format(body=FAULT.format(code=refused.args[0])))
            return
        say(action, *arguments.values())
        values = "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())
        body = f'<u:{action}Response xmlns:u="{SERVICE}">{values}</u:{action}Response>'
        self._answer(200, ENVELOPE.format(body=body))

    def _answer(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Standard error is for failures."""


def answer_searches() -> None:
    """Answers as the address that was asked, to whoever asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as group:
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        group.bind(("", SSDP[1]))
        join = struct.pack("=4s4s", socket.inet_aton(SSDP[0]), socket.inet_aton(host))
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)
        say("up")
        while True:
            data, source = group.recvfrom(2048)
            if b"InternetGatewayDevice:1" not in data:
                continue
            say("search", source[0])
            at = OTHER_HOST if "elsewhere" in behaviours else host
            answer = f"HTTP/1.1 200 OK\r\nLOCATION: http://{at}:{HTTP_PORT}/root.xml\r\n\r\n"
            group.sendto(answer.encode(), source)


if __name__ == "__main__":
    server = ThreadingHTTPServer((host, HTTP_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer_searches()
