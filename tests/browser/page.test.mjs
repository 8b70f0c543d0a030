// The first page, as somebody sees it who opens it: camera, test pattern, dropped file.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clip, compile, launch, open, screenshot, serve, until } from './helper.mjs';

const PHONE = { viewport: { width: 390, height: 844 } };
let server, chrome;

before(async () => {
  const camera = clip('page.mjpeg', '--frames', 300, '--no-numbers');
  const processors = [compile('examples/c/motion.c', 'motion'), compile('examples/c/brightness.c', 'brightness')];
  [server, chrome] = await Promise.all([serve({ processors }), launch({ camera })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

const results = (page) => page.evaluate(() => window.framegate.session?.counts?.ok ?? 0);
const state = (page) => page.locator('#state').textContent();

/** Nothing went wrong in the page's console, and nothing was asked of anybody else. */
function assertClean(page, errors = []) {
  assert.deepEqual(page.seen.errors, errors);
  for (const url of page.seen.requests.filter((url) => !url.startsWith('blob:'))) {
    assert.equal(new URL(url).origin, server.base);
  }
}

async function assertFits(page) {
  const { wide, view } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth }));
  assert.ok(wide <= view, `the page is ${wide} wide in a window of ${view}`);
}

test('camera and the default pipeline give results after one press of Start', async () => {
  const page = await open(chrome, server.base);
  await until('pipelines', () => page.locator('#start').isEnabled());
  assert.equal(await page.locator('input[name=pipeline]:checked').inputValue(), 'motion');
  assert.equal(await state(page), 'Ready');
  await screenshot(page, 'idle-desktop');
  await page.locator('#start').click();
  await until('60 results', async () => await results(page) >= 60);
  assert.equal(await state(page), 'Live');
  const shown = () => page.locator('#numbers dd').nth(4).textContent().then(Number);
  const first = await until('the number of frames on the page', shown);
  await until('that number to grow', async () => await shown() > first);
  const last = JSON.parse(await page.locator('#result').textContent());
  assert.equal(last.processor, 'motion');
  assert.equal(last.status, 'ok');
  assert.deepEqual(last.size, [640, 480]);
  await until('motion to be found', () => page.evaluate(() => /"label": "/.test(document.querySelector('#result').textContent)));
  await screenshot(page, 'live-desktop');
  await assertFits(page);

  await page.locator('#start').click();
  await until('the summary', async () => (await page.locator('#events').textContent()).includes('Ended'));
  assert.equal(await state(page), 'Ready');
  const { sessions } = await (await fetch(`${server.base}/v1/sessions`)).json();
  assert.deepEqual(sessions, []);
  assertClean(page);
  await page.close();
});

test('an outline is drawn instead of box and points', async () => {
  const page = await open(chrome, server.base);
  const [outline, box] = await page.evaluate(async () => {
    const { drawDetections } = await import('/sdk/framegate.js');
    const corners = [[0.25, 0.25, 1], [0.75, 0.25, 1], [0.25, 0.75, 1]];
    // Whether anything is there: in the middle of the side from the last but one corner to the last, at a corner of the
    // box that is none of the outline, and where only the second corner's dot is.
    const places = [[160, 120], [240, 180], [241, 61]];
    return [true, undefined].map((given) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
      const ctx = canvas.getContext('2d');
      const found = { label: 'kite', score: 1, box: [0.25, 0.25, 0.5, 0.5], keypoints: corners, outline: given };
      drawDetections(ctx, { detections: [found] }, ([x, y, w, h]) => [x * 320, y * 240, w * 320, h * 240]);
      return places.map(([x, y]) => ctx.getImageData(x, y, 1, 1).data[3] > 128);
    });
  });
  assert.deepEqual(outline, [true, false, false]);
  assert.deepEqual(box, [false, true, true]);
  await page.close();
});

test('it fits a phone', async () => {
  const page = await open(chrome, server.base, PHONE);
  await screenshot(page, 'idle-phone');
  await assertFits(page);
  await page.locator('#start').click();
  await until('30 results', async () => await results(page) >= 30);
  await assertFits(page);
  await screenshot(page, 'live-phone');
  assertClean(page);
  await page.close();
});

test('it works with the keyboard alone', async () => {
  const page = await open(chrome, server.base);
  await until('pipelines', () => page.locator('#start').isEnabled());
  const reached = [];
  for (let presses = 0; presses < 30 && !reached.includes('start'); presses++) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.name || document.activeElement.className));
    const ring = await page.evaluate(() => {
      const focus = document.activeElement;
      const drawn = focus.matches('input[type=radio]') ? focus.nextElementSibling : focus;
      const { outlineStyle, boxShadow } = getComputedStyle(drawn);
      return outlineStyle !== 'none' || boxShadow !== 'none';
    });
    assert.ok(ring, `${reached.at(-1)} shows that it has the focus`);
  }
  for (const id of ['skip', 'source', 'pipeline', 'start']) assert.ok(reached.includes(id), `${id} of ${reached}`);
  await page.keyboard.press('Enter');
  await until('a result', async () => await results(page) > 0);
  await page.keyboard.press('Enter');
  await until('the end', async () => await state(page) === 'Ready');
  assertClean(page);
  await page.close();
});

test('the test pattern is a source', async () => {
  const page = await open(chrome, `${server.base}/?source=pattern&pipeline=brightness&autostart=1`);
  await until('30 results', async () => await results(page) >= 30);
  assert.equal(JSON.parse(await page.locator('#result').textContent()).processor, 'brightness');
  await screenshot(page, 'live-pattern');
  assertClean(page);
  await page.close();
});

test('a dropped video file is a source', async () => {
  const page = await open(chrome, server.base);
  await until('pipelines', () => page.locator('#start').isEnabled());
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
    const ctx = canvas.getContext('2d');
    const timer = setInterval(() => {
      ctx.fillStyle = `hsl(${performance.now() / 10} 80% 50%)`;
      ctx.fillRect(0, 0, 320, 240);
    }, 33);
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: 'video/webm;codecs=vp8' });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const ended = new Promise((done) => { recorder.onstop = done; });
    recorder.start();
    setTimeout(() => recorder.stop(), 1500);
    await ended;
    clearInterval(timer);
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(parts, 'colours.webm', { type: 'video/webm' }));
    document.querySelector('#stage').dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  });
  await until('30 results', async () => await results(page) >= 30);
  assert.deepEqual(JSON.parse(await page.locator('#result').textContent()).size, [320, 240]);
  assertClean(page);
  await page.close();
});
