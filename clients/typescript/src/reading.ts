// Reading: what a stream's pieces mean to its reader, and from where it goes on once it was cut. Pure.

import { RemoteError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { isEnded } from "./records.js";
import { Parser } from "./sse.js";

const MOST_TOLD = 10_000;

/** A reader's place in a stream of one run, or of several. */
export interface Reading {
  runIds: Set<string>;
  /** The id of the last event that was taken, from which a new connection goes on. */
  cursor: string | undefined;
  /** Milliseconds that the server wants to pass before a reconnection. */
  retry: number;
  /** The credential was refused in the middle. */
  expired: boolean;
  /** This connection has told something. */
  progress: boolean;
  /** Whether every run has ended, and that was told. */
  isOver: () => boolean;
  /** A new answer begins: half an event that came of the former one is void. */
  connected: () => void;
  /** Go on without a run that is gone, if its end was told and others are left; false if its end was not: then that is news. */
  leaveOut: (runId: string) => boolean;
  /** The events in this piece, each once; noted when it is taken, so that none is lost with a reader who leaves. */
  take: (piece: string) => Generator<StreamEvent>;
}

export function readingOf(runIds: readonly string[], cursor: string | undefined): Reading {
  const ended = new Set<string>();
  const isNews = noveltyFilter();
  let parser = new Parser();
  const reading: Reading = {
    runIds: new Set(runIds),
    cursor,
    retry: 1000,
    expired: false,
    progress: false,
    isOver: () => [...reading.runIds].every((runId) => ended.has(runId)),
    leaveOut: (runId) => reading.runIds.size > 1 && ended.has(runId) && reading.runIds.delete(runId),
    connected() {
      reading.expired = reading.progress = false;
      parser = new Parser(reading.cursor);
    },
    *take(piece) {
      const messages = parser.feed(piece);
      reading.retry = parser.retry ?? reading.retry;
      for (const { event: type, data, id } of messages) {
        if (type === "token:expired") {
          reading.expired = true;
          return;
        }
        reading.cursor = id || reading.cursor;
        const event = read(data);
        if (!isNews(event)) continue;
        reading.progress = true;
        const isEnd = event.type.startsWith("execution:") || (event.type === "run" && isEnded(event.run));
        ended[isEnd ? "add" : "delete"](event.runId);
        yield event;
        if (reading.isOver()) return;
      }
    },
  };
  return reading;
}

/**
 * What is not in the journal has no id, so a server tells it again after a cut: once is enough. It is forgotten when the journal
 * has passed it: from there on no server tells it any more.
 */
function noveltyFilter(): (event: StreamEvent) => boolean {
  const told = new Map<string, string>(); // what was told, and of which run and step
  return (event) => {
    const { type, runId } = event;
    const key = "key" in event ? event.key : undefined;
    if (type === "step:start" || type === "step:retry") {
      const fact = JSON.stringify([runId, key, event.attempt, type]);
      if (told.has(fact)) return false;
      if (told.size > MOST_TOLD) told.clear();
      told.set(fact, JSON.stringify([runId, key]));
    } else if (key !== undefined || /^run(:retrying|:continued)?$/.test(type)) {
      const passed = JSON.stringify(key === undefined ? [runId] : [runId, key]);
      for (const [fact, about] of told) {
        if (about === passed || (key === undefined && about.startsWith(passed.slice(0, -1) + ",")))
          told.delete(fact);
      }
    }
    return true;
  };
}

function read(data: string): StreamEvent {
  try {
    return JSON.parse(data) as StreamEvent;
  } catch (error) {
    throw new RemoteError("an event of the stream is not JSON", {}, error);
  }
}
