"""A second WebRTC client, aiortc, sends numbered pictures and checks what comes back."""

import asyncio
import fractions
import json
import time
import unittest
import urllib.request

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from framegate_server import Server

RATE_HZ = 30
CLOCK_HZ = 90_000
STEP = CLOCK_HZ // RATE_HZ
RECEIVED_SHARE_MIN = 0.95
SOON_S = 10


def read_pictures(path, count):
    """The first pictures of a clip; picture n carries the number n."""
    with av.open(str(path)) as clip:
        pictures = [frame for _, frame in zip(range(count), clip.decode(video=0))]
    assert len(pictures) == count, f"{path} has {len(pictures)} pictures"
    return pictures


class Numbered(MediaStreamTrack):
    """Gives the pictures at their rate, again and again, and remembers which it gave when."""

    kind = "video"

    def __init__(self, pictures):
        super().__init__()
        self.pictures = pictures
        self.begun = None
        self.given = []  # numbers

    async def recv(self):
        index = len(self.given)
        if self.begun is None:
            self.begun = time.monotonic()
        await asyncio.sleep(max(0, self.begun + index / RATE_HZ - time.monotonic()))
        number = index % len(self.pictures)
        frame = self.pictures[number].reformat()
        frame.pts = index * STEP
        frame.time_base = fractions.Fraction(1, CLOCK_HZ)
        self.given.append(number)
        return frame


class Publisher:
    """One session by WHIP."""

    def __init__(self, url, pictures):
        self.url = url
        self.track = Numbered(pictures)
        self.connection = RTCPeerConnection()
        self.sender = self.connection.addTransceiver(self.track, direction="sendonly").sender
        self.results = []
        self.control = {}  # type → newest data
        self.counts = {}
        self.changed = asyncio.Event()
        results = self.connection.createDataChannel("results", ordered=False, protocol="framegate.result.v1")
        self.channel = self.connection.createDataChannel("control", protocol="framegate.control.v1")
        results.on("message", self._on_result)
        self.channel.on("message", self._on_control)

    def _on_result(self, text):
        result = json.loads(text)
        self.results.append(result)
        self._on_counts(result["counts"])

    def _on_control(self, text):
        message = json.loads(text)
        self.control[message["type"]] = message.get("data")
        self._on_counts((message.get("data") or {}).get("counts"))

    def _on_counts(self, counts):
        # Results are not ordered; counts only grow.
        if counts and counts["received"] >= self.counts.get("received", 0):
            self.counts = counts
        self.changed.set()

    async def until(self, what, condition, seconds=SOON_S):
        async def wait():
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        try:
            await asyncio.wait_for(wait(), seconds)
        except asyncio.TimeoutError:
            raise AssertionError(f"after {seconds} s still not: {what}; counts {self.counts}") from None

    async def begin(self):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = self.connection.localDescription.sdp
        request = urllib.request.Request(self.url, offer.encode(), {"Content-Type": "application/sdp"})
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(request).read().decode())
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self.until("the first result", lambda: self.results)

    async def end(self):
        """Sends no more, waits for all outcomes, closes; gives the summary's counts."""
        self.sender.replaceTrack(None)
        await self.until(
            "an outcome for every frame received",
            lambda: outcomes(self.counts) == self.counts["received"] >= RECEIVED_SHARE_MIN * len(self.track.given),
        )
        self.channel.send(json.dumps({"v": 1, "type": "close"}))
        await self.until("the summary", lambda: "summary" in self.control)
        await self.connection.close()
        return self.control["summary"]["counts"]


def outcomes(counts):
    return counts["ok"] + counts["error"] + sum(counts["skipped"].values()) + sum(counts["dropped"].values())


class Aiortc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("examples/c/framecode.c"))
        cls.url = f"{cls.server.base}/whip/framecode"

    def check(self, publisher, counts):
        """Every result is of the frame whose number it read, and the books add up."""
        sent = len(publisher.track.given)
        self.assertEqual(outcomes(counts), counts["received"])
        self.assertLessEqual(counts["received"], sent)
        self.assertGreaterEqual(counts["received"], RECEIVED_SHARE_MIN * sent)
        self.assertEqual(counts["error"], 0)
        self.assertEqual(len(publisher.results), counts["ok"] - counts["undelivered"])
        first = publisher.results[0]
        # RTP time begins anywhere (RFC 3550 §5.1): the first result tells where, all others have to agree.
        begin = first["rtp"] - publisher.track.given.index(first["data"]["number"]) * STEP
        for result in publisher.results:
            # aiortc computes timestamps in floating point, which may be one tick short.
            index = round(((result["rtp"] - begin + STEP) % 2**32 - STEP) / STEP)
            self.assertEqual(result["data"]["number"], publisher.track.given[index])
        self.assertEqual(len({result["seq"] for result in publisher.results}), len(publisher.results))

    def test_numbers_come_back_on_their_frames(self):
        pictures = read_pictures(self.server.clip(frames=150), 150)

        async def run():
            publisher = Publisher(self.url, pictures)
            await publisher.begin()
            await publisher.until("60 results", lambda: len(publisher.results) >= 60)
            return publisher, await publisher.end()

        publisher, counts = asyncio.run(run())
        self.check(publisher, counts)
        self.assertEqual(publisher.control["hello"]["pipeline"], "framecode")
        self.assertTrue(any(result["capture_us"] for result in publisher.results), "sender reports tell the capture time")

    def test_four_at_once(self):
        pictures = read_pictures(self.server.clip(size="320x240", kbit=300, frames=150), 150)

        async def run():
            publishers = [Publisher(self.url, pictures) for _ in range(4)]
            await asyncio.gather(*(publisher.begin() for publisher in publishers))
            frames = 5 * RATE_HZ
            enough = (p.until(f"{frames} frames", lambda p=p: p.counts["received"] >= frames, 20) for p in publishers)
            await asyncio.gather(*enough)
            return publishers, await asyncio.gather(*(publisher.end() for publisher in publishers))

        publishers, counts = asyncio.run(run())
        for publisher, count in zip(publishers, counts):
            self.check(publisher, count)
        with urllib.request.urlopen(f"{self.server.base}/v1/sessions") as answer:
            self.assertEqual(json.load(answer)["sessions"], [])


if __name__ == "__main__":
    unittest.main()
