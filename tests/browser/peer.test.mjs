// What the SDK does not do: a connection by hand, with an RSA certificate, as other WebRTC stacks have.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clip, compile, launch, open, serve } from './helper.mjs';

let server, chrome;

before(async () => {
  const processors = [compile('examples/c/framecode.c', 'framecode')];
  [server, chrome] = await Promise.all([serve({ processors }), launch({ camera: clip('peer.mjpeg', '--frames', 60) })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

/** Publishes the camera by hand; gives the answer, the session's URL and the first results. Runs in the page. */
async function publish(algorithm) {
  const certificate = await RTCPeerConnection.generateCertificate(algorithm);
  const pc = new RTCPeerConnection({ certificates: [certificate] });
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  pc.addTrack(stream.getVideoTracks()[0], stream);
  const channel = pc.createDataChannel('results', { ordered: false, protocol: 'framegate.result.v1' });
  const results = new Promise((done) => {
    const seen = [];
    channel.onmessage = ({ data }) => seen.push(JSON.parse(data)) === 30 && done(seen);
  });
  await pc.setLocalDescription();
  const answer = await fetch('/whip/framecode', {
    method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp,
  });
  const sdp = await answer.text();
  await pc.setRemoteDescription({ type: 'answer', sdp });
  const seen = await results;
  const location = answer.headers.get('location');
  const ended = await fetch(location, { method: 'DELETE' });
  const summary = await ended.json();
  const again = await fetch(location, { method: 'DELETE' });
  pc.close();
  return { status: answer.status, sdp, location, seen, summary, again: again.status };
}

const certificates = {
  RSA: "{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }",
  ECDSA: "{ name: 'ECDSA', namedCurve: 'P-256' }",
};

for (const [name, algorithm] of Object.entries(certificates)) {
  test(`a peer with an ${name} certificate gets results and, on DELETE, its summary`, async () => {
    const page = await open(chrome, server.base);
    const { status, sdp, location, seen, summary, again } = await page.evaluate(`(${publish})(${algorithm})`);
    assert.equal(status, 201);
    assert.match(location, /^\/sessions\/[0-9a-f]{32}$/);
    assert.match(sdp, /a=ice-lite/);
    assert.match(sdp, /a=recvonly/);
    assert.match(sdp, /a=candidate:.* 127\.0\.0\.1 \d+ typ host/);
    assert.doesNotMatch(sdp, /urn:3gpp:video-orientation/);
    assert.ok(seen.every((result) => Number.isInteger(result.data.number)), 'each picture was read');
    assert.ok(summary.counts.received >= 30);
    assert.equal(again, 404);
    await page.close();
  });
}
