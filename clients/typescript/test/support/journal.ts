// Journal: a run's stream as a server would tell it, from any cursor on, with cuts wherever a test wants them.

import type { ServerResponse } from "node:http";
import { runRecord } from "./run-record.js";
import { beginStream, ScriptedServer, written, type Arrived } from "./server.js";

export interface Entry {
  event: string;
  id?: string;
  data: Record<string, unknown>;
}

const AT = "2026-01-31T12:00:00.000Z";

export function entry(event: string, id: string | undefined, data: object = {}): Entry {
  const told = { type: event, runId: "r1", at: AT, ...data };
  return id === undefined ? { event, data: told } : { event, id, data: told };
}

export function step(name: string, id: string, result: unknown = null): Entry {
  return entry("step:complete", id, { stepName: name, key: name, attempt: 1, result });
}

/** A run with text that is cut badly: every length of UTF-8, quotes, line ends. */
export const ENTRIES: Entry[] = [
  entry("run:resumed", "1.0", { takeover: false }),
  step("plain", "2.0", "first"),
  step("unicode é ☃ 😀", "3.0", ["é", "☃", "😀\n\r\n", '"data: x"']),
  entry("run:suspended", "3.1", { wakeAt: null, waits: [{ eventId: "e", name: "e", until: null }] }),
  entry("run:resumed", "4.0", { takeover: true }),
  step("last", "5.0", { deep: [1, null] }),
  entry("execution:complete", "5.1", { data: "done" }),
];

export const RUN = runRecord("r1", AT);

/** What follows the cursor of this request, as bytes. */
export function rest(entries: readonly Entry[], { headers }: Pick<Arrived, "headers">, runId = "r1"): Buffer {
  const cursor = headers["last-event-id"];
  const known = cursor === undefined ? -1 : entries.findIndex(({ id }) => id === cursor);
  const text = entries.slice(known + 1).map(({ event, data, id }) => written(event, { ...data, runId }, id));
  return Buffer.from(`retry: 1200\n\n: hello\n\n${text.join("")}`);
}

/** Begins the stream, writes these bytes, and cuts the connection once they are on their way. */
export function cutAfter(response: ServerResponse, bytes: Buffer): Promise<void> {
  beginStream(response);
  return new Promise((resolve) => {
    response.write(bytes, () => {
      response.socket?.destroySoon();
      resolve();
    });
  });
}

/** Tells one piece after the other, a connection for each: nothing else follows it than its end, or (the last) the end of the stream. */
export function pieces(...told: readonly (readonly Entry[])[]): Promise<ScriptedServer> {
  return ScriptedServer.start((_, response, number) => {
    beginStream(response);
    response.end((told[number] ?? []).map(({ event, data, id }) => written(event, data, id)).join(""));
  });
}
