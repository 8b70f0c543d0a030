// The form made from a processor's parameters, what it changes, and what a pipeline returns and says.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { clip, compile, launch, open, screenshot, serve, until, work } from './helper.mjs';

const COLOUR_OFF = 24; // of 255: what JPEG and limited-range video do to a flat colour
const PAUSE_MS = 99; // 100 on a clock that is rounded
let server, chrome, camera;

before(async () => {
  camera = clip('params.mjpeg', '--frames', 300, '--no-numbers');
  const broken = join(work, 'broken.so');
  writeFileSync(broken, 'no library');
  const wrong = join(work, 'wrong.c');
  writeFileSync(wrong, 'int first = nothing;\nint second = ;\n');
  const processors = [compile('testdata/processors/params.c', 'params'), broken, wrong];
  [server, chrome] = await Promise.all([serve({ processors }), launch({ camera })]);
});
after(() => Promise.all([chrome?.close(), server?.stop()]));

const state = (page) => page.locator('#state').textContent();
const events = (page) => page.locator('#events').textContent();
const row = (page, id) => page.locator(`[data-param=${id}]`);
const control = (page, id) => row(page, id).locator('.control').locator('input, select').first();

/** Data of the newest result: the values in force in the engine. */
const data = (page) => page.evaluate(() => window.newest?.data ?? null);
const inForce = (page, id, value) => until(`${id} = ${value} in the results`, async () => (await data(page))?.[id] === value);

/** The page of a running pipeline whose form is there. */
async function begin(options) {
  const page = await open(chrome, `${server.base}/?pipeline=params&autostart=1`, options);
  await until('results', () => page.evaluate(() => {
    const { session } = window.framegate;
    if (session && !window.newest) session.on('result', (result) => { window.newest = result; });
    return window.newest;
  }));
  await until('the form', () => page.evaluate(() => window.framegate.session.processors.length));
  return page;
}

/** Moves a slider as a hand does: many values one after the other. */
async function drag(page, id, ...values) {
  await control(page, id).evaluate(async (slider, all) => {
    for (const value of all) {
      slider.value = value;
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      await new Promise(requestAnimationFrame);
    }
  }, values);
}

test('each kind of parameter has its control, with words, range and value', async () => {
  const page = await begin();
  const fields = await page.locator('[data-param]').evaluateAll((rows) => rows.map((field) => {
    const main = field.querySelector('.control').firstElementChild;
    return [field.dataset.param, field.querySelector('label').textContent, main.type,
      main.type === 'checkbox' ? main.checked : main.value];
  }));
  const expected = [['invert', 'Invert', 'checkbox', false], ['count', 'Count', 'range', '3'], ['threshold', 'Threshold', 'range', '0.5'],
    ['shape', 'Shape', 'select-one', 'square'], ['title', 'Title', 'text', 'hello'], ['colour', 'Colour', 'color', '#ff8800'],
    ['gain', 'Gain', 'number', '1.5']];
  assert.deepEqual(fields.sort(), expected.sort());
  const threshold = await control(page, 'threshold').evaluate(({ min, max, step }) => ({ min, max, step }));
  assert.deepEqual(threshold, { min: '0', max: '1', step: '0.05' });
  assert.match(await row(page, 'gain').textContent(), /dB/);
  assert.match(await row(page, 'threshold').textContent(), /From nothing to everything\./);
  assert.deepEqual(await page.locator('#form legend').allTextContents(), ['Picture', 'Words']);
  assert.equal(await page.getByLabel('Shape', { exact: true }).inputValue(), 'square');
  await page.close();
});

test('changes take effect on the frames after, and can be taken back', async () => {
  const page = await begin();
  await drag(page, 'threshold', 0.55, 0.6, 0.65, 0.7, 0.75);
  await inForce(page, 'threshold', 0.75);
  await control(page, 'count').press('ArrowRight');
  await inForce(page, 'count', 4);
  await control(page, 'invert').click();
  await inForce(page, 'invert', true);
  await control(page, 'shape').selectOption('stripes');
  await inForce(page, 'shape', 'stripes');
  await control(page, 'title').fill('twelve');
  await inForce(page, 'title', 'twelve');
  await control(page, 'gain').fill('-3.25');
  await inForce(page, 'gain', -3.25);
  await control(page, 'colour').fill('#0040ff');
  await inForce(page, 'colour', '#0040ff');
  await until('the log', async () => (await page.locator('#log').textContent()).includes('title is now twelve'));

  await row(page, 'threshold').getByRole('button', { name: 'Reset Threshold to 0.5' }).click();
  await inForce(page, 'threshold', 0.5);
  assert.equal(await control(page, 'threshold').inputValue(), '0.5');
  await page.getByRole('button', { name: 'Reset all' }).click();
  const first = { invert: false, count: 3, threshold: 0.5, shape: 'square', title: 'hello', colour: '#ff8800', gain: 1.5 };
  for (const [id, value] of Object.entries(first)) await inForce(page, id, value);
  await until('nothing to reset', () => page.locator('#reset-all').isDisabled());
  assert.deepEqual(page.seen.errors, []);
  await page.close();
});

test('a slider that is dragged asks at most ten times a second', async () => {
  const page = await begin();
  await page.evaluate(() => {
    window.asked = [];
    const { session } = window.framegate;
    const setParams = session.setParams.bind(session);
    session.setParams = (...given) => {
      window.asked.push(performance.now());
      return setParams(...given);
    };
  });
  await drag(page, 'threshold', ...Array.from({ length: 60 }, (_, index) => index % 21 / 20), 0.9);
  await inForce(page, 'threshold', 0.9);
  const asked = await page.evaluate(() => window.asked);
  const pauses = asked.slice(1).map((at, index) => at - asked[index]);
  assert.ok(pauses.length > 0 && pauses.every((ms) => ms >= PAUSE_MS), `pauses in ms: ${pauses}`);
  await page.close();
});

test('what is refused is said at its field, and the value in force stays', async () => {
  const page = await begin();
  const refused = (id) => row(page, id).locator('.refused').textContent();
  const number = row(page, 'threshold').locator('input[type=number]');
  await number.fill('2.5');
  const said = await until('the refusal', () => refused('threshold'));
  assert.match(said, /2\.5/);
  assert.match(said, /0 to 1/);
  assert.equal(await number.getAttribute('aria-invalid'), 'true');
  await number.blur();
  await until('the value in force', async () => await number.inputValue() === '0.5');
  assert.equal((await data(page)).threshold, 0.5);

  await control(page, 'title').fill('forbidden');
  await until("the processor's own refusal", () => refused('title'));
  assert.equal((await data(page)).title, 'hello');
  await screenshot(page, 'refused');
  await control(page, 'title').fill('allowed');
  await inForce(page, 'title', 'allowed');
  await until('the refusal to go', async () => await refused('title') === '');
  await page.close();
});

test('values survive the engine', async () => {
  const page = await begin();
  await control(page, 'count').fill('8');
  await inForce(page, 'count', 8);
  const stream = await page.evaluate(() => window.framegate.session.hello.stream);
  const { sessions } = await (await fetch(`${server.base}/v1/sessions`)).json();
  process.kill(sessions.find((session) => session.stream === stream).engine_pid, 'SIGKILL');
  await until('the crash in words', async () => (await events(page)).includes('Engine crashed'));
  const from = await page.evaluate(() => window.newest.seq);
  await until('results after it', async () => await page.evaluate(() => window.newest.seq) > from + 10);
  assert.equal((await data(page)).count, 8);
  assert.equal(await control(page, 'count').inputValue(), '8');
  assert.equal(await state(page), 'Live');
  await page.close();
});

test('what is set while nothing runs holds from Start on', async () => {
  const page = await open(chrome, `${server.base}/?pipeline=params`);
  await until('the form', () => control(page, 'count').isVisible());
  await control(page, 'count').fill('9');
  await page.locator('#start').click();
  const count = () => page.evaluate(() => /"count": 9/.test(document.querySelector('#result').textContent));
  await until('the value in the results', count);
  await page.locator('#start').click();
  await until('the end', async () => await state(page) === 'Ready');
  await page.locator('#start').click();
  await until('the value in the results of another session', count);
  assert.equal(await control(page, 'count').inputValue(), '9');
  await page.close();
});

test('the returned picture is shown as a snapshot of a frame', async () => {
  const page = await begin();
  await control(page, 'colour').fill('#2060e0');
  await inForce(page, 'colour', '#2060e0');
  await page.getByRole('radio', { name: 'Processed' }).check({ force: true });
  const note = page.locator('#returned-note');
  await until('a picture', async () => /^Snapshot, not video · frame \d+ · \d+ ms old$/.test(await note.textContent()));
  const [middle, corner] = await page.locator('#returned').evaluate(async (picture) => {
    await picture.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: picture.naturalWidth, height: picture.naturalHeight });
    const ctx = canvas.getContext('2d');
    ctx.drawImage(picture, 0, 0);
    return [[0.5, 0.5], [0.1, 0.1]].map(([x, y]) => [...ctx.getImageData(x * canvas.width, y * canvas.height, 1, 1).data]);
  });
  const isDrawn = (pixel) => [0x20, 0x60, 0xe0].every((value, index) => Math.abs(pixel[index] - value) <= COLOUR_OFF);
  assert.ok(isDrawn(middle), `the square has its colour: ${middle}`);
  assert.ok(!isDrawn(corner), `the camera is around it: ${corner}`);
  const frame = async () => Number(/frame (\d+)/.exec(await note.textContent())?.[1]);
  const first = await frame();
  await until('the next picture', async () => await frame() > first);
  await screenshot(page, 'processed');
  await page.getByRole('radio', { name: 'Camera' }).last().check({ force: true });
  await until('the camera', () => page.locator('#returned').isHidden());
  assert.deepEqual(page.seen.errors, []);
  await page.close();
});

test('messages go to the processor and come back', async () => {
  const page = await begin();
  const answer = await page.evaluate(() => new Promise((done) => {
    const { session } = window.framegate;
    session.on('message', done);
    session.send({ 'what is': ['this', 1.5, null] });
  }));
  assert.deepEqual(answer, { processor: 'params', data: { 'what is': ['this', 1.5, null] } });
  const { refused, values } = await page.evaluate(() => window.framegate.session.setParams({ count: 5, nonsense: 1 }));
  assert.deepEqual(values, [{ processor: 'params', id: 'count', value: 5 }]);
  assert.deepEqual(refused.map(({ id }) => id), ['nonsense']);
  await until('the form to follow', async () => await control(page, 'count').inputValue() === '5');
  const ended = await page.evaluate(async () => {
    const { session } = window.framegate;
    await session.close();
    return session.setParams({ count: 6 }).then(() => 'taken', ({ code }) => code);
  });
  assert.equal(ended, 'not_live');
  await page.close();
});

test('the log is filtered by level and text, and paused', async () => {
  const page = await begin();
  const shown = () => page.locator('#log li').allTextContents();
  await until('the first line', async () => (await shown()).some((line) => line.includes('params is made')));
  await control(page, 'title').fill('forbidden');
  await until('the warning', async () => (await shown()).some((line) => line.includes('this title is not taken')));
  await page.getByLabel('Least level shown').selectOption('warn');
  assert.ok((await shown()).every((line) => line.includes('not taken')));
  await page.getByLabel('Least level shown').selectOption('debug');
  await page.getByLabel('Only lines with this text').fill('IS MADE');
  assert.deepEqual((await shown()).map((line) => line.includes('params is made')), [true]);
  await page.getByLabel('Only lines with this text').fill('');
  await page.locator('#log-pause').click();
  const before = await shown();
  await control(page, 'count').fill('7');
  await until('what waits', async () => (await page.locator('#log-count').textContent()).includes('waiting'));
  assert.deepEqual(await shown(), before);
  await page.locator('#log-pause').click();
  await until('what came meanwhile', async () => (await shown()).some((line) => line.includes('count is now 7')));
  await page.close();
});

test('the list says what a pipeline is and costs, and why one does not load', async () => {
  const page = await begin();
  const described = page.locator('.pipe').filter({ has: page.locator('input[value=params]') });
  assert.match(await described.textContent(), /params.*C.*1\.2\.0 · Has one parameter of each kind/);
  await until('its cost', async () => /\d (µs|ms) a frame/.test(await described.textContent()));
  assert.match(await page.locator('#about').textContent(), /median.*p95.*One of its own for each stream.*No network/);
  await page.locator('#start').click();
  await until('the end', async () => await state(page) === 'Ready');
  await page.locator('input[value=broken]').check({ force: true });
  // A library is looked at when somebody wants it: with Start, if not before.
  await page.locator('#start').click();
  await until('the reason', async () => /broken\.so/.test(await page.locator('#broken').innerText()));
  assert.match(await page.locator('.pipe').filter({ has: page.locator('input[value=broken]') }).textContent(), /does not load/);
  await screenshot(page, 'broken');
  await page.close();
});

test('what the compiler said of a source is shown line by line', async () => {
  const page = await open(chrome, `${server.base}/?pipeline=wrong&source=pattern&autostart=1`);
  const said = page.locator('#broken pre');
  await until('the words of the compiler', () => said.isVisible());
  assert.match(await said.textContent(), /wrong\.c:1:\d+: error: .*nothing.*\n.*wrong\.c:2:\d+: error: /);
  assert.match(await page.locator('#broken p').textContent(), /wrong\.c does not compile/);
  await screenshot(page, 'compile-error');
  await page.close();
});

test('the form fits a phone', async () => {
  const page = await begin({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
  const { wide, view } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth }));
  assert.ok(wide <= view, `the page is ${wide} wide in a window of ${view}`);
  const order = await page.evaluate(() => ['stage', 'parameters', 'numbers'].map((id) => document.getElementById(id).getBoundingClientRect().top));
  assert.deepEqual(order, [...order].sort((a, b) => a - b));
  await control(page, 'count').fill('2');
  await inForce(page, 'count', 2);
  await screenshot(page, 'params-phone');
  assert.deepEqual(page.seen.errors, []);
  await page.close();
});
