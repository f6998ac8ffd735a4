// Reading: what a stream's pieces mean to its reader, and from where it goes on once it was cut. Pure.

import { UnauthenticatedError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { parsed } from "./exchange.js";
import { isEnded } from "./records.js";
import { parserFrom } from "./sse.js";

const MOST_TOLD = 10_000;
const EXPIRED = { type: "unauthenticated", status: 401 };

/** A reader's place in a stream of one run, or of several. */
export interface Reading {
  runIds: Set<string>;
  /** The id of the last event that was taken, from which a new connection goes on. */
  cursor: string | undefined;
  /** Milliseconds that the server wants to pass before a reconnection. */
  retry: number;
  /** The credential was refused in the middle, and so. */
  refusal: Error | undefined;
  /** This connection has told something. */
  progress: boolean;
  /** Whether every run has ended, and that was told. */
  isOver: () => boolean;
  /** There was a connection. */
  isKnown: boolean;
  /** A new answer begins: half an event that came of the former one is void. `isLast`: nothing comes of it, nor ever will. */
  connected: (isLast: boolean) => void;
  /** Go on without a run that is gone, if its end was told and others are left; false if its end was not: then that is news. */
  leaveOut: (runId: string) => boolean;
  /** The events in this piece, each once; noted when it is taken, so that none is lost with a reader who leaves. */
  take: (piece: string) => Generator<StreamEvent>;
}

export function readingOf(ids: readonly string[], cursor: string | undefined): Reading {
  const runIds = new Set(ids);
  const going = new Set(ids);
  const isNews = noveltyFilter();
  let parser = parserFrom();
  const reading: Reading = {
    runIds,
    cursor,
    retry: 1000,
    refusal: undefined,
    progress: false,
    isOver: () => !going.size,
    leaveOut: (runId) => runIds.size > 1 && !going.has(runId) && runIds.delete(runId),
    isKnown: false,
    connected(isLast) {
      reading.isKnown = true;
      reading.refusal = undefined;
      reading.progress = false;
      if (isLast) going.clear();
      parser = parserFrom(reading.cursor);
    },
    *take(piece) {
      const messages = parser.feed(piece);
      reading.retry = parser.retry ?? reading.retry;
      for (const { event: type, data, id } of messages) {
        if (type === "token:expired") {
          reading.refusal = new UnauthenticatedError("the token has expired", EXPIRED);
          return;
        }
        reading.cursor = id || reading.cursor;
        const event = parsed(data) as StreamEvent;
        if (!isNews(event)) continue;
        reading.progress = true;
        const isEnd = event.type.startsWith("execution:") || (event.type === "run" && isEnded(event.run));
        going[isEnd ? "delete" : "add"](event.runId);
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
  const told = new Map<string, Map<string, number>>(); // of which run and step, and how far it had come
  return (event) => {
    const { type, runId } = event;
    const steps = told.get(runId) ?? new Map<string, number>();
    if (type === "step:start" || type === "step:retry") {
      const progress = 2 * event.attempt + Number(type === "step:retry");
      if (progress <= (steps.get(event.key) ?? 0)) return false;
      if (steps.size > MOST_TOLD) steps.clear();
      told.set(runId, steps.set(event.key, progress));
    } else if ("key" in event) steps.delete(event.key);
    else if (BEGINNINGS.includes(type)) told.delete(runId);
    return true;
  };
}

/** What begins here, or is taken over by another worker, counts its steps' attempts anew. */
const BEGINNINGS = ["run", "run:resumed", "run:retrying", "run:continued"];
