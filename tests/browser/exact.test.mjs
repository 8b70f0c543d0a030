// Each shown picture carries its own number at the top, and what the overlay drew carries the result's at the bottom:
// read from the pixels of the composited page, both must be the same.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readBars } from './bar.mjs';
import { clip, compile, keep, launch, open, serve, until } from './helper.mjs';

const STAGE = { width: 640, height: 480 };
const ROWS = [16, STAGE.height - 16]; // the middle of either bar
const SAMPLES = 200; // pictures with a result
let server, chrome, origin;

before(async () => {
  const page = readFileSync(new URL('foreign.html', import.meta.url));
  origin = await listen(() => page);
  const camera = clip('exact.mjpeg', '--frames', 600);
  const processors = [compile('examples/c/framecode.c', 'framecode'),
    compile('testdata/processors/framecode_slow.c', 'framecode_slow', '-DMIN_MS=30', '-DMAX_MS=150')];
  const env = { FRAMEGATE_SERVER__ORIGINS: origin };
  [server, chrome] = await Promise.all([serve({ processors, env }), launch({ camera })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

/** Somebody's own web server; `body` gives what is at a path. */
function listen(body) {
  return new Promise((done) => {
    const own = createServer(({ url }, response) => {
      const type = url.endsWith('.js') ? 'text/javascript' : 'text/html';
      response.writeHead(200, { 'content-type': type }).end(body(url));
    });
    own.unref().listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${own.address().port}`));
  });
}

/** A page of another origin with a session. */
async function begin(pipeline, mode) {
  const page = await open(chrome, origin, { viewport: STAGE });
  await page.evaluate((given) => window.begin(...given), [server.base, pipeline, mode]);
  return page;
}

/** What the composited page showed, as pairs of the picture's and the result's number, until `enough` of it. */
async function watch(page, enough) {
  const shown = [];
  const cdp = await page.context().newCDPSession(page);
  cdp.on('Page.screencastFrame', ({ data, sessionId }) => {
    shown.push(Buffer.from(data, 'base64'));
    cdp.send('Page.screencastFrameAck', { sessionId }).catch(() => {}); // the page may be gone by now
  });
  const pairs = [];
  await cdp.send('Page.startScreencast', { format: 'png', everyNthFrame: 1 });
  await until('enough pictures', () => {
    while (shown.length) {
      const png = shown.shift();
      const [picture, result] = readBars(png, ROWS);
      if (result !== null && result !== picture) keep('mismatch.png', png);
      pairs.push({ picture, result });
    }
    return enough(pairs);
  }, 90_000);
  await cdp.send('Page.stopScreencast');
  await cdp.detach();
  return pairs;
}

const annotated = (pairs) => pairs.filter(({ result }) => result !== null);
const wrong = (pairs) => annotated(pairs).filter(({ picture, result }) => picture !== result);
const total = (reasons) => Object.values(reasons).reduce((sum, count) => sum + count, 0);
const outcomes = ({ ok, error, skipped, dropped }) => ok + error + total(skipped) + total(dropped);

/** Ends the session; every frame that was sent must have been received and have one outcome. */
async function checkBooks(page, detail) {
  await page.evaluate(() => window.endSending());
  const counted = () => page.evaluate(async () =>
    [(await window.session.stats()).framesEncoded, window.session.counts.received]);
  let sent, received;
  await until('frames sent to be frames received', async () => {
    [sent, received] = await counted();
    return sent === received;
  }).catch((error) => assert.fail(`${error.message}: sent ${sent}, received ${received}`));
  const { counts } = await page.evaluate(() => window.session.close());
  detail.diagnostic(`frames sent ${sent}; ${JSON.stringify(counts)}`);
  assert.equal(counts.received, sent);
  assert.equal(outcomes(counts), counts.received);
  assert.equal(counts.dropped.not_contiguous ?? 0, 0);
  return counts;
}

test('exact: each picture is shown with its own result, however long that takes', async (detail) => {
  const page = await begin('framecode_slow', 'exact');
  const pairs = await watch(page, (pairs) => annotated(pairs).length >= SAMPLES);
  const numbers = new Set(annotated(pairs).map(({ picture }) => picture));
  detail.diagnostic(`${pairs.length} pictures, ${annotated(pairs).length} with a result, ${numbers.size} different`);
  assert.deepEqual(wrong(pairs), []);
  assert.ok(numbers.size > SAMPLES / 4, 'the pictures are of many frames');
  assert.equal(await page.evaluate(() => window.session.matching), 'exact');
  const counts = await checkBooks(page, detail);
  assert.ok(counts.skipped.newer > 0, 'the processor is slower than the camera');
  assert.deepEqual(page.seen.errors, []);
  await page.close();
});

test('exact, with a quick processor: nearly each picture has its result', async (detail) => {
  const page = await begin('framecode', 'exact');
  await until('matching', () => page.evaluate(() => window.session.matching === 'exact'));
  const pairs = await watch(page, (pairs) => annotated(pairs).length >= SAMPLES / 2);
  detail.diagnostic(`${pairs.length} pictures, ${annotated(pairs).length} with a result`);
  assert.deepEqual(wrong(pairs), []);
  await checkBooks(page, detail);
  await page.close();
});

test('arrival shows the newest result on whatever picture there is: the check above can fail', async (detail) => {
  const page = await begin('framecode_slow', 'arrival');
  const pairs = await watch(page, (pairs) => annotated(pairs).length >= SAMPLES / 4);
  detail.diagnostic(`${wrong(pairs).length} of ${annotated(pairs).length} pictures with the result of another frame`);
  assert.ok(wrong(pairs).length > 0);
  await page.evaluate(() => window.session.close());
  await page.close();
});

test('a page of an origin that is not listed is refused, and is told what to do', async () => {
  const sdk = new URL('../../sdk/typescript', import.meta.url);
  const other = await listen((path) => (path.endsWith('.js') ? readFileSync(`${fileURLToPath(sdk)}${path}`) : ''));
  const page = await open(chrome, other);
  const imported = await page.evaluate((base) =>
    import(`${base}/sdk/framegate.js`).then(() => 'allowed', () => 'refused'), server.base);
  assert.equal(imported, 'refused');
  // With a copy of the SDK from elsewhere the page gets no further.
  const error = await page.evaluate(async (base) => {
    const { connect } = await import('/framegate.js');
    return connect({ url: `${base}/whip/framecode`, stream: 'camera' }).then(() => null, ({ code, hint }) => ({ code, hint }));
  }, server.base);
  assert.equal(error.code, 'server_unreachable');
  assert.ok(error.hint.includes(`server.origins must name ${other}`), error.hint);
  await page.close();
});
