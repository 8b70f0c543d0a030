// @ts-check
// Where the video comes from: a camera, a drawn test pattern, or a file the user chose.

import { FramegateError, camera } from '../sdk/framegate.js';

const PATTERN_WIDTH = 640;
const PATTERN_HEIGHT = 480;
const PATTERN_HZ = 30;
const COUNTER_BITS = 16;

/** @typedef {{ stream: MediaStream, mirror: boolean, stop: () => void }} Source */

/** @param {string} deviceId @returns {Promise<Source>} */
export async function cameraSource(deviceId) {
  const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const stream = await camera({ video: deviceId ? { ...size, deviceId: { exact: deviceId } } : size });
  const settings = stream.getVideoTracks()[0].getSettings();
  return { stream, mirror: settings.facingMode !== 'environment', stop: () => stopTracks(stream) };
}

/** Cameras by name; names are empty until the user has allowed one. @returns {Promise<MediaDeviceInfo[]>} */
export async function cameras() {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  return devices.filter(({ kind, deviceId }) => kind === 'videoinput' && deviceId);
}

/**
 * A ball on a still background: whatever looks for motion, colour or circles has something to find.
 * With `numbered`, a strip of cells at the top holds the frame's number in binary, so that a test can read from the
 * pixels alone which frame it sees.
 * @param {boolean} numbered @returns {Source}
 */
export function patternSource(numbered) {
  const canvas = document.createElement('canvas');
  canvas.width = PATTERN_WIDTH;
  canvas.height = PATTERN_HEIGHT;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { alpha: false }));
  const backdrop = drawBackdrop();
  let frame = 0;
  const draw = () => {
    ctx.drawImage(backdrop, 0, 0);
    drawBall(ctx, frame / PATTERN_HZ);
    if (numbered) drawCounter(ctx, frame);
    frame++;
  };
  draw();
  // A timer, not an animation frame: those stop when the tab is not in front, and so would the stream.
  const timer = setInterval(draw, 1000 / PATTERN_HZ);
  const stream = canvas.captureStream(PATTERN_HZ);
  return { stream, mirror: false, stop: () => { clearInterval(timer); stopTracks(stream); } };
}

/** @param {File} file @returns {Promise<Source>} */
export async function fileSource(file) {
  const video = document.createElement('video');
  const url = URL.createObjectURL(file);
  Object.assign(video, { src: url, loop: true, muted: true, playsInline: true });
  try {
    await video.play();
  } catch (cause) {
    URL.revokeObjectURL(url);
    throw new FramegateError('bad_file', `${file.name} does not play here.`,
      'Choose a video this browser plays: WebM, or MP4 with H.264.', { cause });
  }
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { alpha: false }));
  // By way of a canvas: not every browser has captureStream on video, and a canvas survives the loop.
  let ended = false;
  const draw = () => {
    if (ended) return;
    ctx.drawImage(video, 0, 0);
    video.requestVideoFrameCallback(draw);
  };
  draw();
  const stream = canvas.captureStream();
  const stop = () => {
    ended = true;
    stopTracks(stream);
    video.pause();
    URL.revokeObjectURL(url);
  };
  return { stream, mirror: false, stop };
}

/** @param {MediaStream} stream */
function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function drawBackdrop() {
  const canvas = document.createElement('canvas');
  canvas.width = PATTERN_WIDTH;
  canvas.height = PATTERN_HEIGHT;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { alpha: false }));
  const sky = ctx.createLinearGradient(0, 0, 0, PATTERN_HEIGHT);
  sky.addColorStop(0, '#20343c');
  sky.addColorStop(1, '#0f1b20');
  ctx.fillStyle = sky;
  ctx.fillRect(0, 0, PATTERN_WIDTH, PATTERN_HEIGHT);
  ctx.strokeStyle = '#ffffff14';
  for (let x = 0; x <= PATTERN_WIDTH; x += 40) ctx.strokeRect(x + 0.5, -1, 0, PATTERN_HEIGHT + 2);
  for (let y = 0; y <= PATTERN_HEIGHT; y += 40) ctx.strokeRect(-1, y + 0.5, PATTERN_WIDTH + 2, 0);
  const bars = ['#c8c8c8', '#c8c81e', '#1ec8c8', '#1ec81e', '#c81ec8', '#c81e1e', '#1e1ec8'];
  const width = PATTERN_WIDTH / bars.length;
  bars.forEach((colour, index) => {
    ctx.fillStyle = colour;
    ctx.fillRect(Math.round(index * width), PATTERN_HEIGHT - 56, Math.ceil(width), 56);
  });
  return canvas;
}

/** @param {CanvasRenderingContext2D} ctx @param {number} time seconds */
function drawBall(ctx, time) {
  const radius = 34;
  const x = PATTERN_WIDTH / 2 + Math.sin(time * 1.1) * (PATTERN_WIDTH / 2 - radius - 24);
  const floor = PATTERN_HEIGHT - 56 - radius;
  const y = floor - Math.abs(Math.sin(time * 2.3)) * (floor - radius - 70);
  const light = ctx.createRadialGradient(x - 10, y - 12, 4, x, y, radius);
  light.addColorStop(0, '#fff3d6');
  light.addColorStop(0.35, '#ffb454');
  light.addColorStop(1, '#e2711d');
  ctx.fillStyle = light;
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

/** @param {CanvasRenderingContext2D} ctx @param {number} frame */
function drawCounter(ctx, frame) {
  const cell = PATTERN_WIDTH / 20;
  ctx.fillStyle = '#000';
  ctx.fillRect(0, 0, PATTERN_WIDTH, PATTERN_HEIGHT / 10);
  ctx.fillStyle = '#fff';
  for (let bit = 0; bit < COUNTER_BITS; bit++) {
    if (frame & (1 << (COUNTER_BITS - 1 - bit))) ctx.fillRect((bit + 2) * cell, 0, cell, PATTERN_HEIGHT / 10);
  }
}
