// Ten thousand engines one after another: what a gateway that lives for months must not lose a little of each time.
import { readFileSync, readdirSync } from 'node:fs';

import { holdings, killNow, percentiles, quiet, sessionsOf, settled, spread, told, verdict } from './chaos.mjs';

const RESTARTS = Number(process.env.FRAMEGATE_RESTARTS ?? 10_000);
const SESSIONS = 20;
const ROUND_SECONDS = 60;
const POLL_MS = 4;
const STUCK_SECONDS = 30;
const GROWTH_KIB_MAX = 8 * 1024;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** What a process holds besides memory. Heaps come in pieces, so a few mappings more are no leak; one for each engine is. */
function grip(pid) {
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
  const mappings = readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n').length;
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, mappings, rss_kib: rss };
}

/** Nurseries: the children of the gateway. */
const nurseries = ({ child: { pid } }) => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((name) => {
  try {
    return Number(readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')[1]) === pid;
  } catch { return false; } // it ended meanwhile
}).map(Number);

/** Kills every engine that has given a result, until the sessions end or there were enough. */
async function round(server, running, tally) {
  let over = false;
  const done = running.finally(() => { over = true; });
  const seats = new Map();
  while (!over) {
    const now = performance.now();
    for (const { stream, engine_pid: pid, counts } of await sessionsOf(server)) {
      const seat = seats.get(stream) ?? { killed: undefined, ok: 0 };
      seats.set(stream, seat);
      if (!pid) continue;
      if (seat.at !== undefined && pid !== seat.killed) {
        tally.restart_ms.push(now - seat.at);
        seat.at = undefined;
      }
      if (pid === seat.killed || counts.ok <= seat.ok || tally.killed >= RESTARTS) continue;
      if (killNow(pid) === undefined) continue;
      Object.assign(seat, { killed: pid, ok: counts.ok, at: performance.now() });
      tally.killed++;
      tally.last = Date.now();
    }
    if (tally.killed < RESTARTS && Date.now() - tally.last > STUCK_SECONDS * 1000) throw new Error('no engine came for 30 s');
    await pause(POLL_MS);
  }
  return done;
}

/** Twenty sessions whose engines are killed as soon as each has given a result. */
export async function restarts({ server, load, clips }) {
  const sends = [`${server.base}/whip/readall`, '--clip', clips.small, '-n', SESSIONS, '--warm-up', 0, '--accept-skips'];
  await load([...sends, '-s', 5]);
  await quiet(server, 1);
  const [nursery] = nurseries(server);
  const before = { all: holdings(server), gateway: grip(server.child.pid), nursery: grip(nursery) };
  const tally = { killed: 0, restart_ms: [], last: Date.now() };
  const begin = Date.now();
  let report;
  while (tally.killed < RESTARTS) report = await round(server, load([...sends, '-s', ROUND_SECONDS]), tally);
  const took = (tally.last - begin) / 1000;
  const rest = await settled(server, before.all);
  const after = { gateway: grip(server.child.pid), nursery: grip(nursery) };
  // Frames of a killed engine are lost, which is what the scenario is about.
  report.why_not = [];
  for (const who of ['gateway', 'nursery']) {
    const [was, is] = [before[who], after[who]];
    if (is.descriptors > was.descriptors) report.why_not.push(`the ${who} holds ${is.descriptors - was.descriptors} descriptors more`);
    if (is.mappings > was.mappings + RESTARTS / 100) report.why_not.push(`the ${who} holds ${is.mappings - was.mappings} mappings more`);
    if (is.rss_kib > was.rss_kib + GROWTH_KIB_MAX) report.why_not.push(`the ${who} has grown by ${is.rss_kib - was.rss_kib} KiB`);
  }
  verdict(report, rest, server);
  const times = percentiles(tally.restart_ms);
  const shown = (who) => `${who}: ${['descriptors', 'mappings', 'rss_kib'].map((name) => `${name} ${before[who][name]} → ${after[who][name]}`).join(', ')}`;
  return {
    ...report, cpu: undefined, memory_after_kib: undefined, holdings: rest, before, after, restarts: tally.killed, restart_ms: times,
    findings: [
      `${tally.killed} engines killed and replaced in ${took.toFixed(0)} s (${(tally.killed / took).toFixed(0)} a second); from the kill to the next engine's process ${spread(times)}`,
      `${shown('gateway')}; ${shown('nursery')}`,
      told(rest),
    ],
  };
}
