// A real face in front of the camera: where the page draws its box, the face is in that very picture.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readBars } from './bar.mjs';
import { keep, launch, open, root, serve, until, work } from './helper.mjs';

const STAGE = { width: 640, height: 480 };
const BAR = 16, PARTS = 10_000;
// The picture's number at the top, x, y, w and h of the box at the bottom.
const ROWS = [16, ...[4, 3, 2, 1].map((from) => STAGE.height - from * BAR + BAR / 2)];
const SAMPLES = 40; // pictures with a box
const OVERLAP_MIN = 0.7; // a box of four pictures ago overlaps less
let server, chrome, origin, known;

before(async () => {
  execFileSync(python(), [join(root, 'tests/examples/face_clip.py'), work]);
  known = JSON.parse(readFileSync(join(work, 'face.json'))).faces;
  origin = await ownServer(readFileSync(new URL('faces.html', import.meta.url)));
  const processors = [join(root, 'examples/cpp/faces.cpp')];
  const env = { FRAMEGATE_SERVER__ORIGINS: origin };
  [server, chrome] = await Promise.all([serve({ processors, env }), launch({ camera: join(work, 'face.mjpeg') })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

/** A Python that has the photographs. */
function python() {
  const venv = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'venv-pictures');
  const own = join(venv, 'bin/python');
  execFileSync('/usr/bin/python3', ['-m', 'venv', venv]);
  execFileSync(own, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r',
    join(root, 'tests/examples/requirements.txt')]);
  return own;
}

function ownServer(body) {
  return new Promise((done) => {
    const own = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(body));
    own.unref().listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${own.address().port}`));
  });
}

/** Common area of two boxes [x, y, w, h] as part of what they cover together. */
function overlap(one, other) {
  const [width, height] = [0, 1].map((axis) =>
    Math.max(0, Math.min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - Math.max(one[axis], other[axis])));
  return width * height / (one[2] * one[3] + other[2] * other[3] - width * height);
}

/** Pairs of a picture's number and the box drawn over it, read from the pixels of the composited page. */
async function watch(page) {
  const shown = [], pairs = [];
  const cdp = await page.context().newCDPSession(page);
  cdp.on('Page.screencastFrame', ({ data, sessionId }) => {
    shown.push(Buffer.from(data, 'base64'));
    cdp.send('Page.screencastFrameAck', { sessionId }).catch(() => {}); // the page may be gone by now
  });
  await cdp.send('Page.startScreencast', { format: 'png', everyNthFrame: 1 });
  await until('enough pictures with a box', () => {
    while (shown.length) {
      const png = shown.shift();
      const [picture, ...box] = readBars(png, ROWS);
      if (picture === null || box.includes(null)) continue;
      pairs.push({ picture, box: box.map((part) => part / PARTS), png });
    }
    return pairs.length >= SAMPLES;
  }, 180_000);
  await cdp.send('Page.stopScreencast');
  return pairs;
}

test('the box is where the face is, in each picture', async (detail) => {
  const page = await open(chrome, origin, { viewport: STAGE });
  await page.evaluate((base) => window.begin(base), server.base);
  const pairs = await watch(page);
  const overlaps = pairs.map(({ picture, box }) => overlap(known[picture], box));
  const worst = pairs[overlaps.indexOf(Math.min(...overlaps))];
  keep('face.png', pairs[0].png);
  keep('face-worst.png', worst.png);
  const late = pairs.map(({ picture, box }) => overlap(known[(picture + 4) % known.length], box));
  detail.diagnostic(`${pairs.length} pictures, smallest overlap ${Math.min(...overlaps).toFixed(3)}; ` +
    `with the face of four pictures later ${Math.min(...late).toFixed(3)}`);
  assert.ok(Math.min(...overlaps) >= OVERLAP_MIN, `picture ${worst.picture}: ${worst.box}, face at ${known[worst.picture]}`);
  assert.ok(Math.min(...late) < OVERLAP_MIN, 'the check above can fail');
  assert.deepEqual(page.seen.errors, []);
  await page.evaluate(() => window.session.close());
  await page.close();
});
