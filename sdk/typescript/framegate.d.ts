// Types of framegate.js. Licence: MIT OR Apache-2.0.

/** `reconnecting` goes back to `live` by itself, or to `failed` after about 20 s of trying. */
export type State = 'idle' | 'requesting' | 'connecting' | 'live' | 'reconnecting' | 'failed' | 'closed';

/** Whether frames and results are matched by capture time (`exact`), by the nearest time the browser tells
 * (`nearest`), or not yet: the first sender report is missing (`calibrating`). */
export type Matching = 'calibrating' | 'exact' | 'nearest';

/** Cumulative outcomes of a stream; zero reasons are left out. */
export interface Counts {
  received: number;
  ok: number;
  error: number;
  skipped: { newer?: number; late?: number; rate?: number; no_keyframe?: number };
  dropped: Record<string, number>;
  undelivered?: number;
}

/** A frame without a result. */
export interface Missed {
  seq: number;
  rtp: number;
  outcome: 'skipped' | 'dropped';
  reason: string;
}

/** Durations of the stages, in microseconds. */
export interface Timing {
  assemble: number;
  queue: number;
  decode: number;
  wait: number;
  convert: number;
  process: number;
  total: number;
  /** Of a chain: `process` by processor. */
  processors?: Record<string, number>;
}

/** Something found at a place. */
export interface Detection {
  label: string;
  /** 0…1. */
  score: number;
  /** `[x, y, width, height]`, fractions of the upright picture, origin top-left. */
  box: [number, number, number, number];
  track?: number;
  keypoints?: [x: number, y: number, score: number][];
  /** The keypoints, at least three, are the corners of its outline, in their order. */
  outline?: true;
}

/** One message of `framegate.result.v1`. Texts in it come from the processor: show them as text, never as HTML. */
export interface Result<Data = unknown> {
  v: 1;
  stream: string;
  seq: number;
  epoch: number;
  /** The frame's RTP timestamp, 32 bits at 90 000 Hz: the key of the frame. */
  rtp: number;
  /** Capture time on this browser's clock, µs; `null` before the first sender report. */
  capture_us: number | null;
  /** Pixels. */
  size: [width: number, height: number];
  processor: string;
  status: 'ok' | 'error';
  error?: { code: string; text: string };
  dropped: number;
  timing: Timing;
  detections?: Detection[];
  data: Data | null;
  counts: Counts;
  missed?: Missed[];
}

/** First message of a connection. */
export interface Hello {
  stream: string;
  pipeline: string;
  server: string;
  processors: { name: string; version: string; description: string }[];
}

/** What a parameter is set to: a number, yes or no, a text, one of the choices, or a colour as `#rrggbb`. */
export type ParamValue = boolean | number | string;

/** A value of a processor that can be changed while it runs. */
export interface Param {
  /** Unique within its processor. */
  id: string;
  /** For people; absent: the id. */
  label?: string;
  group?: string;
  description?: string;
  unit?: string;
  kind: 'bool' | 'int' | 'float' | 'choice' | 'text' | 'color';
  /** In force now; kept up to date. */
  value: ParamValue;
  default: ParamValue;
  /** Of `int` and `float` with a range. */
  min?: number;
  max?: number;
  /** Values are `min` plus multiples of it; absent: any. */
  step?: number;
  /** Of `choice`. */
  choices?: string[];
  /** Of `text`, in UTF-8. */
  bytes_max?: number;
}

/** A processor of the running pipeline. Its texts come from its author: show them as text, never as HTML. */
export interface Processor {
  name: string;
  version?: string;
  description?: string;
  /** What it is written in. */
  language?: string;
  /** Whether `send` reaches it. */
  takes_messages?: boolean;
  params?: Param[];
}

/** What became of values that were set. */
export interface ParamsAnswer {
  /** In force now. */
  values: { processor: string; id: string; value: ParamValue }[];
  /** Not taken, and why, for people; the value before stays. */
  refused: { processor: string; id: string; text: string }[];
}

/** Something that happened to the engine or the stream. */
export interface ServerEvent {
  kind: 'engine_starting' | 'engine_ready' | 'engine_crashed' | 'engine_hung' | 'engine_backoff' | 'circuit_open'
    | 'frame_too_large' | 'processor_failed' | (string & {});
  text: string;
  seq?: number;
  signal?: string;
  restarts?: number;
}

/** What listeners are given. */
export interface Events<Data = unknown> {
  result: Result<Data>;
  event: ServerEvent;
  state: State;
  log: { level: 'error' | 'warn' | 'info' | 'debug'; text: string };
  counts: { counts: Counts; missed: Missed[] };
  hello: Hello;
  /** Each time an engine is ready: its processors, with the values in force. */
  processors: Processor[];
  /** Values that changed or were refused, whoever asked. */
  params: ParamsAnswer;
  /** What a processor says to its page, apart from results. */
  message: { processor: string; data: unknown };
  /** The pipeline returns pictures: `snapshotUrl('processed')` shows them. */
  image: object;
  /** Why a session that had been live ended; `connect` itself rejects with what went wrong before. */
  error: FramegateError;
}

export interface Options<Data = unknown> {
  /** WHIP address of a pipeline, for example `/whip/motion`. */
  url: string;
  /** A stream with video, which stays the caller's; or the camera, which is stopped with the session. */
  stream: MediaStream | 'camera' | MediaStreamConstraints;
  /** Public name of the stream on the server. */
  name?: string;
  /** Listeners from the very beginning. */
  on?: { [E in keyof Events<Data>]?: (value: Events<Data>[E]) => void };
  /** Closes the session, also while it is being made. */
  signal?: AbortSignal;
}

/** What became of all frames. */
export interface Summary {
  stream: string | null;
  counts: Counts | null;
}

export interface Stats {
  framesEncoded: number;
  bytesSent: number;
  width: number;
  height: number;
  fps: number;
  rttMs: number;
  /** `none`, `cpu`, `bandwidth` or `other`. */
  limitedBy: string;
}

/** `code` is one of `insecure_page`, `no_camera`, `camera_denied`, `camera_busy`, `camera_mismatch`, `camera_failed`,
 * `camera_lost`, `no_video`, `no_webrtc`, `server_unreachable`, `server_refused`, `server_full`, `unknown_pipeline`,
 * `no_media_route`, `connection_lost`, `not_live`, `no_answer`, `closed`. */
export class FramegateError extends Error {
  constructor(code: string, message: string, hint: string, more?: object);
  code: string;
  /** What to do about it. */
  hint: string;
  /** The server's problem document (RFC 9457). */
  problem?: { title?: string; status?: number; detail?: string; code?: string; next?: string };
  /** Seconds after which the server has room again, when it said so. */
  retryAfter?: number;
  /** Of `no_media_route`: candidates as `address:port/protocol`, and the pairs tried with their states. */
  local?: string[];
  remote?: string[];
  pairs?: string[];
}

/** Opens a camera. Rejects with a `FramegateError` that says what to do. Default: 640×480 at 30 Hz. */
export function camera(constraints?: MediaStreamConstraints): Promise<MediaStream>;

/** Connects; resolves when the session is live, rejects with a `FramegateError`. */
export function connect<Data = unknown>(options: Options<Data>): Promise<Session<Data>>;

export class Session<Data = unknown> {
  private constructor();
  static open<Data = unknown>(options: Options<Data>): Promise<Session<Data>>;
  readonly state: State;
  /** Kept up to date by `overlay`. */
  matching: Matching;
  /** What is sent. */
  readonly stream: MediaStream;
  readonly hello: Hello | null;
  readonly counts: Counts | null;
  /** Empty until the first engine is ready. */
  readonly processors: Processor[];
  /** Whether the pipeline has given pictures of its own. */
  readonly returnsImage: boolean;
  /** Milliseconds between the clock of the sender reports and the page's; followed by `overlay`. */
  offset: number;
  /** Calls `listener` until the returned function is called. */
  on<E extends keyof Events<Data>>(event: E, listener: (value: Events<Data>[E]) => void): () => void;
  /** All results from now on; a reader that is too slow misses the oldest (256 wait). Ends with the session. */
  results(): AsyncGenerator<Result<Data>, void, void>;
  /** When the result's frame was captured, on the timeline of `performance.now()`; `null` before it is known. */
  captured(result: Result): number | null;
  /** Begins to learn `offset` anew, as at each connection. */
  calibrate(): void;
  /** Sets parameters by their ids, at most 64 at once. Without `processor` each goes to the first processor with that
   * id. Resolves also when values are refused; rejects with `not_live`, or with `no_answer` after 10 s. The server keeps
   * accepted values for the engines to come, but not for another session. */
  setParams(values: Record<string, ParamValue>, options?: { processor?: string }): Promise<ParamsAnswer>;
  /** Sends any JSON value of at most 16 KiB to a processor; without a name, to the first that takes messages. Throws
   * `not_live`. */
  send(message: unknown, options?: { processor?: string }): void;
  /** Address of a JPEG of the next frame: the camera's picture, or the one the pipeline returns (the default where there
   * is one). `null` before the server has said hello. */
  snapshotUrl(view?: 'source' | 'processed'): string | null;
  stats(): Promise<Stats>;
  /** Ends the session on both sides. */
  close(): Promise<Summary>;
}

/** A frame that was drawn. */
export interface Shown {
  /** `null` when nothing is known of the frame. */
  rtp: number | null;
  seq: number | null;
  /** The frame's own result; in mode `live` and `arrival` the newest one. */
  result: Result | null;
  /** Capture time of the frame, ms of `performance.now()`, or the nearest the browser tells; `null` in mode `live`. */
  captureTime: number | null;
}

export interface OverlayOptions {
  /** `exact` (default): the canvas shows each frame together with its own result, at most 250 ms late. `live`: the
   * newest result over the undelayed video, with its age. `arrival`: each frame with the newest result, right or
   * wrong: for comparison. */
  mode?: 'exact' | 'live' | 'arrival';
  /** Draws one result; `place` turns a box of fractions into pixels of the canvas. Default: `drawDetections`. */
  draw?: (ctx: CanvasRenderingContext2D, result: Result, place: (box: number[]) => number[]) => void;
  /** Shows a mirror image; text stays readable. */
  mirror?: boolean;
  /** Called for each frame drawn. */
  onshow?: (shown: Shown) => void;
}

/** Stops drawing and clears the canvas. */
export interface Overlay {
  (): void;
  readonly lastShown: Shown | null;
  /** Results that came after their frame had been shown without them. */
  readonly late: number;
}

/** Draws the session's results. `canvas` must cover `video`, which has to stay visible beneath: browsers tell nothing
 * of the frames of a hidden one. Takes `session.stream` as the video's source if it has none. */
export function overlay(
  session: Session<any>, video: HTMLVideoElement, canvas: HTMLCanvasElement, options?: OverlayOptions,
): Overlay;

/** The default drawing: boxes, labels and keypoints. */
export function drawDetections(ctx: CanvasRenderingContext2D, result: Result, place: (box: number[]) => number[]): void;
