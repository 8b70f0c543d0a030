// Whatever goes wrong, the page says in words what it is and what to do, and goes on by itself where it can.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clip, compile, launch, open, screenshot, serve, until } from './helper.mjs';

const CANNOT_ANSWER = '192.0.2.7'; // RFC 5737: an address for documents, which nobody has
let server, chrome, camera;
const processors = [];

before(async () => {
  camera = clip('trouble.mjpeg', '--frames', 300, '--no-numbers');
  processors.push(compile('examples/c/brightness.c', 'brightness'),
    compile('testdata/processors/crash.c', 'crash', '-DAT=30', '-DONCE'),
    compile('testdata/processors/no_symbol.c', 'no_symbol'));
  [server, chrome] = await Promise.all([serve({ processors }), launch({ camera })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

const results = (page) => page.evaluate(() => window.framegate.session?.counts?.ok ?? 0);
const state = (page) => page.locator('#state').textContent();
const events = (page) => page.locator('#events').textContent();

/** Waits for the page to show an error with this code; gives all its words. */
async function failed(page, code, ms) {
  const shown = () => page.locator('#error').innerText();
  await until(`the error ${code}`, async () => (await shown()).includes(code), ms)
    .catch(async (error) => assert.fail(`${error.message}; the page shows: ${await state(page)} ${await shown()}`));
  assert.equal(await state(page), 'Failed');
  assert.ok(await page.locator('#start').isEnabled(), 'one can try again');
  return shown();
}

test('a processor that crashes: the page says so, and results go on', async () => {
  const page = await open(chrome, `${server.base}/?pipeline=crash&autostart=1`);
  await until('the crash in words', async () => (await events(page)).includes('Engine crashed'));
  const before = await results(page);
  await until('results after it', async () => await results(page) > before + 30);
  assert.equal(await state(page), 'Live');
  const said = await events(page);
  assert.match(said, /SIGSEGV/);
  assert.match(said, /write_to_nowhere/);
  assert.equal(said.match(/Engine is ready/g).length, 2, said);
  const counts = await page.evaluate(() => window.framegate.session.counts);
  assert.ok(counts.dropped.engine_crashed >= 1, JSON.stringify(counts));
  await screenshot(page, 'crashed');
  assert.deepEqual(page.seen.errors, []);
  await page.close();
});

test('a processor that does not load: the page says why', async () => {
  const page = await open(chrome, `${server.base}/?pipeline=no_symbol&autostart=1`);
  // As an event of the session that found out, or as the answer to one after it: the page loads what it lists.
  const told = async () => `${await events(page)} ${await page.locator('#error').innerText()}`;
  await until('the reason', async () => /fg_entry_1/.test(await told()));
  await until('the reason beside the picture', async () => /no_symbol does not load.*fg_entry_1/s.test(await page.locator('#broken').innerText()));
  assert.equal(await page.locator('.pipelines [data-state=failed]').count(), 1);
  await screenshot(page, 'no-symbol');
  await page.close();
});

test('a pipeline that is not there: the page names those that are', async () => {
  const page = await open(chrome, server.base);
  const error = await page.evaluate(async () => {
    const { connect } = await import('/sdk/framegate.js');
    return connect({ url: '/whip/nonsense', stream: 'camera' }).then(() => null, ({ code, message }) => ({ code, message }));
  });
  assert.equal(error.code, 'unknown_pipeline');
  assert.match(error.message, /nonsense.*brightness, crash, no_symbol/);
  await page.close();
});

test('no way for media: the page lists the addresses that were tried', async () => {
  const page = await open(chrome, server.base);
  await until('pipelines', () => page.locator('#start').isEnabled());
  await page.route('**/whip/*', async (route) => {
    const answer = await route.fetch();
    const body = (await answer.text()).replace(/^(a=candidate:\S+ 1 udp \d+) \S+/gim, `$1 ${CANNOT_ANSWER}`);
    await route.fulfill({ response: answer, body });
  });
  await page.locator('#start').click();
  const said = await failed(page, 'no_media_route', 40_000);
  assert.match(said, /media does not reach it/);
  assert.ok(said.includes(`${CANNOT_ANSWER}:${server.port}/udp`), said);
  assert.match(said, /media\.addresses/);
  await screenshot(page, 'no-media-route');
  await page.close();
});

test('no camera', async () => {
  const bare = await launch({ camera: null });
  try {
    const page = await open(bare, server.base);
    await page.locator('#start').click();
    assert.match(await failed(page, 'no_camera'), /No camera was found/);
    await screenshot(page, 'no-camera');
  } finally {
    await bare.close();
  }
});

test('a camera that is not allowed', async () => {
  const strict = await launch({ camera, ask: true });
  try {
    const page = await open(strict, server.base);
    const cdp = await strict.newBrowserCDPSession();
    for (const name of ['camera', 'videoCapture']) {
      await cdp.send('Browser.setPermission', { permission: { name }, setting: 'denied', origin: server.base }).catch(() => {});
    }
    await page.locator('#start').click();
    assert.match(await failed(page, 'camera_denied'), /may not use the camera/);
    await screenshot(page, 'camera-denied');
  } finally {
    await strict.close();
  }
});

test('a server that dies: the page reconnects when it is back, and gives up in words when it is not', async () => {
  let mortal = await serve({ processors });
  try {
    const page = await open(chrome, `${mortal.base}/?autostart=1`);
    await until('results', async () => await results(page) > 10);
    await mortal.kill();
    await until('the loss', async () => await state(page) === 'Reconnecting', 20_000);
    await screenshot(page, 'reconnecting');
    mortal = await serve({ processors, port: mortal.port });
    await until('the return', async () => await state(page) === 'Live', 30_000);
    await until('results after it', async () => await results(page) > 10);

    await mortal.stop();
    await until('the loss', async () => await state(page) === 'Reconnecting', 5000);
    const said = await failed(page, 'connection_lost', 40_000);
    assert.match(said, /The connection was lost\. The server at \S+ does not answer\./);
    await screenshot(page, 'connection-lost');
    await page.close();
  } finally {
    await mortal.kill();
  }
});
