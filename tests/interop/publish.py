"""Publishes legacy envelopes, as the services that jetbus replaces write them.

Reads one JSON object from stdin:
    {"url": ..., "events": [{"subject": ..., "envelope": {...}}, ...]}
Each envelope is published as JSON without headers, in order. Prints, for each,
the server's acknowledgement as a line {"stream": ..., "seq": ...}.
"""

import asyncio
import json
import sys

import nats


async def main():
    order = json.load(sys.stdin)
    connection = await nats.connect(order["url"], connect_timeout=10)
    jetstream = connection.jetstream()
    for event in order["events"]:
        payload = json.dumps(event["envelope"]).encode()
        ack = await jetstream.publish(event["subject"], payload, timeout=10)
        print(json.dumps({"stream": ack.stream, "seq": ack.seq}))
    await connection.close()


asyncio.run(main())
