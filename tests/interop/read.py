"""Reads a stream with a pull consumer of its own, as a foreign service would.

Reads one JSON object from stdin:
    {"url": ..., "stream": ..., "subject": ..., "count": ..., "within": seconds}
Takes `count` messages, acknowledges each, and prints it as a line
    {"subject": ..., "seq": ..., "headers": {...}, "payload": <the JSON itself>}
Ends with a failure when they do not come in time.
"""

import asyncio
import json
import sys

import nats


async def main():
    order = json.load(sys.stdin)
    connection = await nats.connect(order["url"], connect_timeout=10)
    jetstream = connection.jetstream()
    consumer = await jetstream.pull_subscribe(
        order["subject"], durable="reader", stream=order["stream"]
    )
    left = order["count"]
    while left > 0:
        for message in await consumer.fetch(left, timeout=order["within"]):
            print(
                json.dumps(
                    {
                        "subject": message.subject,
                        "seq": message.metadata.sequence.stream,
                        "headers": dict(message.headers or {}),
                        "payload": json.loads(message.data),
                    }
                )
            )
            await message.ack_sync()
            left -= 1
    await connection.close()


asyncio.run(main())
