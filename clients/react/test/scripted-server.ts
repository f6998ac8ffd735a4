// ScriptedServer: a real HTTP server that speaks the wire and does what a test says, when it says so.
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { applyEvent, isEnded, type Run, type StreamEvent } from "@stepflow/client";
import { runRecord } from "../../typescript/test/support/run-record";

type Told = StreamEvent extends infer E ? (E extends StreamEvent ? Omit<E, "runId" | "at"> : never) : never;

interface Scripted {
  run: Run;
  journal: { id: string; event: StreamEvent }[];
  streams: Set<ServerResponse>;
  opened: number;
  cursors: (string | undefined)[];
  tokens: (string | undefined)[];
}

const AT = "2026-01-01T00:00:00.000Z";
const TRANSIENT = ["step:start", "step:retry", "log"];

export class ScriptedServer {
  readonly requests: { method: string; url: string; headers: IncomingMessage["headers"]; body: unknown }[] =
    [];
  /** Put in place of the usual answer to a POST. */
  answer: ((url: string, body: unknown, response: ServerResponse) => void) | undefined;
  /** Looks at a GET first; true if it has answered. */
  get: (url: string, response: ServerResponse, headers: IncomingMessage["headers"]) => boolean = () => false;
  private readonly runs = new Map<string, Scripted>();
  private readonly http: Server;

  private constructor() {
    this.http = createServer((request, response) => {
      void this.serve(request, response);
    });
  }

  static async start(): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    server.http.listen(0, "127.0.0.1");
    await once(server.http, "listening");
    return server;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.http.close();
    this.http.closeAllConnections();
    await once(this.http, "close");
  }

  /** There is a run from now on. */
  add(runId: string, some: Partial<Run> = {}): void {
    const run = { ...runRecord(runId, AT), ...some } as Run;
    this.runs.set(runId, { run, journal: [], streams: new Set(), opened: 0, cursors: [], tokens: [] });
  }

  /** Something happens in the run. Several events go out in one piece. */
  tell(runId: string, ...events: Told[]): void {
    const scripted = this.of(runId);
    const whole = events.map((event) => ({ ...event, runId, at: AT }));
    const messages = whole.map((event) => {
      scripted.run = applyEvent(scripted.run, event);
      const id = TRANSIENT.includes(event.type) ? undefined : `${scripted.journal.length + 1}.0`;
      if (id !== undefined) scripted.journal.push({ id, event });
      return message(event, id);
    });
    for (const stream of [...scripted.streams]) {
      stream.write(messages.join(""));
      if (isEnded(scripted.run)) stream.end();
    }
  }

  /** All streams of the run break off. */
  cut(runId: string): void {
    for (const stream of this.of(runId).streams) stream.destroy();
  }

  /** Streams that were ever opened, and that are open now. */
  count(runId: string): { opened: number; open: number } {
    return { opened: this.of(runId).opened, open: this.of(runId).streams.size };
  }

  /** With which cursor and which token each stream was asked for. */
  asked(runId: string): { cursors: (string | undefined)[]; tokens: (string | undefined)[] } {
    const { cursors, tokens } = this.of(runId);
    return { cursors, tokens };
  }

  runOf(runId: string): Run {
    return this.of(runId).run;
  }

  private of(runId: string): Scripted {
    const scripted = this.runs.get(runId);
    if (!scripted) throw new Error(`the test did not add run ${runId}`);
    return scripted;
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += String(piece);
    const body: unknown = text ? JSON.parse(text) : undefined;
    this.requests.push({ method, url, headers, body });
    if (method === "POST") {
      if (this.answer) this.answer(url, body, response);
      else this.post(url, response);
      return;
    }
    if (this.get(url, response, headers)) return;
    const found = /^\/runs\/([^/?]+)(\/stream)?/.exec(url);
    const scripted = this.runs.get(decodeURIComponent(found?.[1] ?? ""));
    if (!scripted) problem(response, 404, "run-not-found", { runId: found?.[1] });
    else if (found?.[2]) this.stream(scripted, request, response);
    else json(response, 200, scripted.run);
  }

  private post(url: string, response: ServerResponse): void {
    if (url.startsWith("/trigger/")) {
      const runId = `run-${this.runs.size + 1}`;
      this.add(runId, { workflowId: url.slice("/trigger/".length) } as Partial<Run>);
      json(response, 200, { runId, publicAccessToken: `pat_${runId}`, expiresAt: null, created: true });
    } else json(response, 200, { id: "event-1", woken: 1 });
  }

  private stream(scripted: Scripted, request: IncomingMessage, response: ServerResponse): void {
    const cursor = request.headers["last-event-id"] as string | undefined;
    const last = scripted.journal.at(-1)?.id;
    scripted.opened++;
    scripted.cursors.push(cursor);
    scripted.tokens.push(request.headers.authorization);
    if (isEnded(scripted.run) && cursor !== undefined && cursor === last) {
      response.writeHead(204).end();
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("retry: 1\n\n");
    const known = cursor === undefined ? scripted.journal.length : position(scripted, cursor);
    if (cursor === undefined) response.write(message(snapshot(scripted.run), last));
    for (const { id, event } of scripted.journal.slice(known)) response.write(message(event, id));
    if (isEnded(scripted.run)) {
      response.end();
      return;
    }
    scripted.streams.add(response);
    response.on("close", () => scripted.streams.delete(response));
  }
}

function position({ journal }: Scripted, cursor: string): number {
  return journal.findIndex(({ id }) => id === cursor) + 1;
}

function snapshot(run: Run): StreamEvent {
  return { type: "run", runId: run.id, at: AT, run, reset: false };
}

function message(event: StreamEvent, id: string | undefined): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

export function problem(response: ServerResponse, status: number, type: string, data: object = {}): void {
  json(response, status, { type, title: type, status, detail: type, ...data });
}
