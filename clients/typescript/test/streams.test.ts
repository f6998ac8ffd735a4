// Streams: no gap and nothing twice, wherever they are cut; an end that is final; trouble that is waited out, or told.

import { describe, expect, test } from "vitest";
import {
  InputError,
  RunNotFoundError,
  ServerUnavailableError,
  StepflowClient,
  TokenManager,
  UnauthenticatedError,
  type ConnectionState,
  type StepflowClientOptions,
  type StreamEvent,
} from "../src/index.js";
import { cutAfter, entry, ENTRIES, pieces, rest, RUN, step, type Entry } from "./support/journal.js";
import { answerJson, answerProblem, beginStream, ScriptedServer, written } from "./support/server.js";

function clientOf(server: ScriptedServer, options: Partial<StepflowClientOptions> = {}) {
  const pauses: number[] = [];
  const pause = (milliseconds: number): Promise<void> => {
    pauses.push(milliseconds);
    return Promise.resolve();
  };
  return { client: new StepflowClient({ baseUrl: server.url, pause, random: () => 0, ...options }), pauses };
}

async function all(events: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const found: StreamEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const TOLD = ENTRIES.map(({ data }) => data);

describe("a stream that is cut", () => {
  test("wherever it is cut has no gap and nothing twice", async () => {
    const length = rest(ENTRIES, { headers: {} }).length;
    const cut = new Set<string>();
    await using server = await ScriptedServer.start((request, response) => {
      const runId = request.path.split("/")[2] ?? "";
      const whole = rest(ENTRIES, request, runId);
      const bytes = cut.has(runId) ? whole : whole.subarray(0, Number(runId));
      cut.add(runId);
      return cutAfter(response, bytes);
    });
    const { client } = clientOf(server);

    // Every seventh byte: every kind of place, at a price that can be paid on each run. (The parser is tested at every one.)
    const cuts = Array.from({ length: Math.ceil(length / 7) }, (_, index) => String(index * 7));
    const told = await Promise.all(cuts.map((each) => all(client.streamRun(each))));

    expect(told).toEqual(cuts.map((runId) => TOLD.map((data) => ({ ...data, runId }))));
    expect(server.arrived.length).toBeGreaterThan(1.9 * cuts.length);
  });

  test("is opened again after what the server asks for, with pauses that grow until something comes", async () => {
    await using server = await ScriptedServer.start((request, response, number) => {
      if ([1, 2, 3].includes(number)) response.destroy();
      else if (number === 5) {
        beginStream(response);
        response.end(rest(ENTRIES, request));
      } else return cutAfter(response, rest(ENTRIES.slice(0, 1 + number), request));
      return undefined;
    });
    const { client, pauses } = clientOf(server);

    expect(await all(client.streamRun("r1"))).toEqual(TOLD);

    expect(pauses).toEqual([1325, 1450, 1700, 2200, 1325]);
    expect(server.arrived.map(({ headers }) => headers["last-event-id"])).toEqual([
      undefined,
      "1.0",
      "1.0",
      "1.0",
      "1.0",
      "4.0",
    ]);
  });

  test("tells transient events once, though a server tells them again", async () => {
    const about = { stepName: "a", key: "a", attempt: 1 };
    const start = entry("step:start", undefined, about);
    const retry = entry("step:retry", undefined, { ...about, error: null, wakeAt: null });
    const second = entry("step:start", undefined, { ...about, attempt: 2 });
    const log = entry("log", undefined, { level: "info", message: "m", fields: {} });
    await using server = await pieces(
      [start, retry, log],
      [start, retry, second, log, step("a", "1.0")],
      [entry("run:retrying", "2.0", { attempt: 2 }), start],
      [entry("execution:cancelled", "3.0")],
    );

    const events = await all(clientOf(server).client.streamRun("r1"));

    expect(events.map(({ type }) => type)).toEqual([
      ...["step:start", "step:retry", "log", "step:start", "log", "step:complete"],
      ...["run:retrying", "step:start", "execution:cancelled"],
    ]);
  });

  test("goes on from the snapshot where the server can't go on from the cursor", async () => {
    const snapshot = entry("run", "9.0", { run: RUN, reset: true });
    await using server = await pieces(
      [ENTRIES[0] as Entry],
      [snapshot],
      [entry("execution:failed", "9.1", { error: null })],
    );

    const events = await all(clientOf(server).client.streamRun("r1"));

    expect(events.map(({ type }) => type)).toEqual(["run:resumed", "run", "execution:failed"]);
    expect(server.arrived[2]?.headers["last-event-id"]).toBe("9.0");
  });

  test("is given up when the client's patience is at an end", async () => {
    await using server = await ScriptedServer.start((request, response, number) => {
      if (number === 0) return cutAfter(response, rest(ENTRIES.slice(0, 2), request));
      response.destroy();
      return undefined;
    });
    const { client } = clientOf(server, { patience: 30 });
    const events = client.streamRun("r1");

    await events.next();
    await events.next();
    await expect(events.next()).rejects.toThrow(ServerUnavailableError);
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  test("is noticed though nobody says so, when nothing comes for too long", async () => {
    await using server = await ScriptedServer.start((request, response, number) => {
      beginStream(response);
      if (number === 0) response.write(rest(ENTRIES.slice(0, 2), request));
      else response.end(rest(ENTRIES, request));
    });
    const { client } = clientOf(server, { idleTimeout: 60 });

    expect(await all(client.streamRun("r1"))).toEqual(TOLD);
  });
});

describe("the end of a run", () => {
  test.each(["execution:complete", "execution:failed", "execution:cancelled"])(
    "%s ends its stream, though the server holds it open",
    async (type) => {
      let closed = Promise.resolve();
      await using server = await ScriptedServer.start((request, response) => {
        closed = request.aborted;
        beginStream(response);
        response.write(written(type, entry(type, "1.0").data, "1.0"));
      });

      expect(await all(clientOf(server).client.streamRun("r1"))).toHaveLength(1);

      await closed;
      expect(server.arrived).toHaveLength(1);
    },
  );

  test("that is known already ends the stream without an event: nothing is asked again after a 204", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      response.writeHead(204).end();
    });

    expect(await all(clientOf(server).client.streamRun("r1", { lastEventId: "5.1" }))).toEqual([]);
    expect(server.arrived).toHaveLength(1);
    expect(server.arrived[0]?.headers["last-event-id"]).toBe("5.1");
  });

  test("is in the snapshot of a run that has ended", async () => {
    await using server = await pieces([
      entry("run", "5.1", { run: { ...RUN, status: "failed" }, reset: false }),
    ]);

    expect(await all(clientOf(server).client.streamRun("r1"))).toHaveLength(1);
    expect(server.arrived).toHaveLength(1);
  });

  test("carries its whole result, however large", async () => {
    const end = entry("execution:complete", "1.0", { data: { omitted: 70_000 } });
    await using server = await ScriptedServer.start(({ path, query }, response) => {
      if (path.endsWith("/stream")) {
        beginStream(response);
        response.end(written(end.event, end.data, end.id));
      } else {
        expect(query).toEqual([["full", "true"]]);
        answerJson(response, { ...RUN, output: "x".repeat(70_000) });
      }
    });

    const [event] = await all(clientOf(server).client.streamRun("r1"));

    expect(event).toMatchObject({ type: "execution:complete", data: "x".repeat(70_000) });
  });
});

describe("a reader", () => {
  test("who leaves early gives the connection back", async () => {
    let closed = Promise.resolve();
    await using server = await ScriptedServer.start((request, response) => {
      closed = request.aborted;
      beginStream(response);
      response.write(rest(ENTRIES.slice(0, 3), request));
    });

    for await (const event of clientOf(server).client.streamRun("r1"))
      if (event.type === "step:complete") break;

    await closed;
  });

  test("who aborts is answered with the reason, in a wait as in a pause", async () => {
    const controller = new AbortController();
    await using server = await ScriptedServer.start((request, response) => {
      beginStream(response);
      response.write(rest(ENTRIES.slice(0, 1), request));
    });
    const events = clientOf(server).client.streamRun("r1", { signal: controller.signal });
    await events.next();

    const next = events.next();
    controller.abort(new Error("the page was left"));

    await expect(next).rejects.toThrow("the page was left");
  });

  test("is told how the connection is", async () => {
    await using server = await pieces(ENTRIES.slice(0, 2), ENTRIES.slice(2));
    const states: ConnectionState[] = [];

    await all(clientOf(server).client.streamRun("r1", { onConnection: (state) => states.push(state) }));

    expect(states).toEqual(["connecting", "open", "waiting", "connecting", "open", "closed"]);
  });

  test.each([
    [404, "run-not-found", RunNotFoundError],
    [401, "unauthenticated", UnauthenticatedError],
    [400, "invalid-input", InputError],
  ])("is told of a refusal at once: %d", async (status, type, kind) => {
    await using server = await ScriptedServer.start((_, response) => {
      answerProblem(response, status, type, { runId: "r1" });
    });

    await expect(all(clientOf(server).client.streamRun("r1"))).rejects.toThrow(kind);
    expect(server.arrived).toHaveLength(1);
  });

  test("waits while the server has too many streams", async () => {
    await using server = await ScriptedServer.start((request, response, number) => {
      if (number === 0) {
        answerJson(response, { type: "too-many-streams" }, 503, { "Retry-After": "4" });
        return;
      }
      beginStream(response);
      response.end(rest(ENTRIES, request));
    });
    const { client, pauses } = clientOf(server);

    expect(await all(client.streamRun("r1"))).toEqual(TOLD);
    expect(pauses).toEqual([4125]);
  });
});

describe("a token that expires while the stream is open", () => {
  const expired = entry("token:expired", undefined);

  function serverWith(valid: string): Promise<ScriptedServer> {
    return ScriptedServer.start((request, response, number) => {
      if (number > 0 && request.headers.authorization !== `Bearer ${valid}`) {
        answerProblem(response, 401, "unauthenticated");
        return;
      }
      beginStream(response);
      const told = number === 0 ? [...ENTRIES.slice(0, 3), expired] : ENTRIES;
      response.end(rest(told, request));
    });
  }

  test("is renewed, and the stream goes on behind the last event", async () => {
    await using server = await serverWith("pat_2");
    const asked: string[] = [];
    const tokens = new TokenManager({ refresh: (runId) => (asked.push(runId), "pat_2") });
    await tokens.set("r1", "pat_1");
    const { client, pauses } = clientOf(server, { tokens });

    expect(await all(client.streamRun("r1"))).toEqual(TOLD);

    expect(asked).toEqual(["r1"]);
    expect(pauses).toEqual([]);
    expect(server.arrived.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer pat_1",
      "Bearer pat_2",
    ]);
  });

  test("is asked for again where it came from a function", async () => {
    await using server = await serverWith("pat_2");
    let count = 0;

    const events = await all(
      clientOf(server).client.streamRun("r1", { accessToken: () => `pat_${++count}` }),
    );

    expect(events).toEqual(TOLD);
  });

  test("and can't be renewed is told", async () => {
    await using server = await serverWith("pat_2");

    const events = all(clientOf(server).client.streamRun("r1", { accessToken: "pat_1" }));

    await expect(events).rejects.toThrow(UnauthenticatedError);
    expect(server.arrived).toHaveLength(1);
  });
});

describe("the streams of several runs", () => {
  const ended = (runId: string, id: string): Entry => entry("execution:complete", id, { runId, data: runId });

  test("end when all have ended, and are resumed by one cursor", async () => {
    await using server = await pieces([ended("r1", "abc")], [ended("r2", "def")]);

    const events = await all(clientOf(server).client.streamRuns(["r1", "r2", "r1"]));

    expect(events.map(({ runId }) => runId)).toEqual(["r1", "r2"]);
    expect(server.arrived[1]).toMatchObject({
      path: "/stream",
      query: [
        ["runId", "r1"],
        ["runId", "r2"],
      ],
      headers: { "last-event-id": "abc" },
    });
  });

  test("go on without a run that is gone, if its end was told", async () => {
    await using server = await ScriptedServer.start(({ query }, response, number) => {
      if (number > 0 && query.length === 2) {
        answerProblem(response, 404, "run-not-found", { runId: "r1" });
        return;
      }
      const { event, data, id } = number ? ended("r2", "def") : ended("r1", "abc");
      beginStream(response);
      response.end(written(event, data, id));
    });

    expect(await all(clientOf(server).client.streamRuns(["r1", "r2"]))).toHaveLength(2);
  });
});
