// Subscriptions: the picture that events add up to, and who is told of it.

import { describe, expect, test, vi } from "vitest";
import {
  applyEvent,
  RunCancelledError,
  RunNotFoundError,
  StepflowClient,
  type Run,
  type RunHandlers,
  type Step,
  type StreamEvent,
} from "../src/index.js";
import { entry, pieces, RUN, step, type Entry } from "./support/journal.js";
import { answerJson, answerProblem, beginStream, ScriptedServer, written } from "./support/server.js";

const START = RUN as unknown as Run;

function applied(...entries: Entry[]): Run {
  return entries.reduce((run, { data }) => applyEvent(run, data as unknown as StreamEvent), START);
}

const A = { stepName: "a", key: "a", attempt: 1 };
const ERROR = { type: "ValueError", message: "no" };

describe("the picture of a run", () => {
  test("has each step as it goes on, in the order in which each was first heard of", () => {
    const run = applied(
      entry("step:start", undefined, A),
      step("b", "1.0", 1),
      entry("step:retry", undefined, { ...A, error: ERROR, wakeAt: null }),
      entry("step:start", undefined, { ...A, attempt: 2 }),
      entry("step:failed", "2.0", { ...A, attempt: 2, error: ERROR }),
    );
    expect(run.steps.map(({ key, status, attempts, error }) => [key, status, attempts, error])).toEqual([
      ["a", "failed", 2, ERROR],
      ["b", "completed", 1, null],
    ]);
  });

  test("has the state that the run is in", () => {
    const waits = [{ eventId: "e", name: "e", until: null }];
    const suspended = entry("run:suspended", "1.0", { wakeAt: null, waits });
    const paused = entry("run:paused", "2.0", { reason: "requested", detail: "" });
    const resumed = entry("run:resumed", "3.0", { takeover: false });
    expect(applied(suspended)).toMatchObject({ status: "suspended", waits });
    expect(applied(suspended, paused)).toMatchObject({ status: "paused", pauseReason: "requested", waits });
    expect(applied(suspended, paused, resumed)).toMatchObject({
      status: "running",
      waits: [],
      pauseReason: null,
    });
    expect(applied(entry("execution:complete", "4.0", { data: 7 }))).toMatchObject({
      status: "completed",
      output: 7,
      endedAt: "2026-01-31T12:00:00.000Z",
    });
    expect(applied(entry("execution:failed", "4.0", { error: ERROR }))).toMatchObject({
      status: "failed",
      error: ERROR,
    });
    const again = entry("run:retrying", "5.0", { attempt: 2, error: null, wakeAt: null });
    expect(applied(entry("execution:failed", "4.0", { error: ERROR }), again)).toMatchObject({
      status: "queued",
      attempt: 2,
      error: null,
      endedAt: null,
    });
    expect(applied(step("a", "1.0"), entry("run:continued", "2.0", { generation: 1 })).steps).toEqual([]);
  });

  test("has what it waits for among its steps, the last ones, as long as it waits", () => {
    const waits = [
      { eventId: "shipped/1", name: "", until: null },
      { eventId: "paid", name: "payment", until: null },
      { eventId: "run/child-1", name: "child", until: null },
    ];
    const suspended = applied(step("a", "1.0"), entry("run:suspended", "2.0", { wakeAt: null, waits }));
    const further = applyEvent(suspended, step("b", "3.0").data as unknown as StreamEvent);
    const resumed = applyEvent(further, entry("run:resumed", "4.0").data as unknown as StreamEvent);

    expect(suspended.steps.map(({ key, name, kind, status }) => [key, name, kind, status])).toEqual([
      ["a", "a", "step", "completed"],
      ["shipped/1~waiting", "shipped/1", "event", "waiting"],
      ["paid~waiting", "payment", "event", "waiting"],
    ]);
    expect(resumed.steps.map(({ key }) => key)).toEqual(["a", "b"]);
    expect(resumed.waits).toEqual([]);
  });

  test("keeps of an attempt that failed what succeeded in it", () => {
    const run = applied(
      step("a", "1.0"),
      entry("step:failed", "2.0", { stepName: "b", key: "b", attempt: 3, error: ERROR }),
      entry("run:retrying", "2.1", { attempt: 2, error: null, wakeAt: null }),
    );

    expect(run.steps.map(({ key }) => key)).toEqual(["a"]);
  });

  test("is the same object where nothing changes, and shares what did not", () => {
    const before = applied(step("a", "1.0"), step("b", "2.0"));
    expect(applyEvent(before, entry("log", undefined).data as unknown as StreamEvent)).toBe(before);
    expect(applyEvent(before, entry("from:the-future", "3.0").data as unknown as StreamEvent)).toBe(before);
    const after = applyEvent(before, step("b", "3.0", 2).data as unknown as StreamEvent);
    expect(after.steps[0]).toBe(before.steps[0]);
    expect(before.steps[1]?.result).toBeNull();
  });
});

function clientOf(server: ScriptedServer): StepflowClient {
  return new StepflowClient({ baseUrl: server.url, pause: () => Promise.resolve() });
}

/** Everything that handlers are told, until one of them is told of the end. */
function told(client: StepflowClient, more: RunHandlers = {}): Promise<[string, unknown][]> {
  return new Promise((resolve) => {
    const found: [string, unknown][] = [];
    client.subscribeToRun("r1", {
      onUpdate: (run) => found.push(["update", run.status]),
      onStepComplete: (done) => found.push(["step", done.name]),
      onComplete(result) {
        found.push(["complete", result]);
        resolve(found);
      },
      onError(error) {
        found.push(["error", error]);
        resolve(found);
      },
      ...more,
    });
  });
}

const snapshot = (run: object, id: string): Entry =>
  entry("run", id, { run: { ...RUN, ...run }, reset: false });

describe("a subscription", () => {
  const done = { key: "early", name: "early", status: "completed" } as Step;

  test("tells of steps that were complete before, and after a reset of those that were missed, each once", async () => {
    await using server = await pieces(
      [snapshot({ steps: [done] }, "1.0"), step("a", "2.0")],
      [
        snapshot(
          { steps: [done, { ...done, key: "a", name: "a" }, { ...done, key: "b", name: "b" }] },
          "9.0",
        ),
      ],
      [entry("execution:complete", "9.1", { data: 1 })],
    );

    expect(await told(clientOf(server))).toEqual([
      ["update", "running"],
      ["step", "early"],
      ["update", "running"],
      ["step", "a"],
      ["update", "running"],
      ["step", "b"],
      ["update", "completed"],
      ["complete", 1],
    ]);
  });

  test("to a run that has ended tells of its end", async () => {
    await using ended = await pieces([snapshot({ status: "completed", output: "x" }, "1.0")]);
    await using cancelled = await pieces([snapshot({ status: "cancelled" }, "1.0")]);

    expect((await told(clientOf(ended))).at(-1)).toEqual(["complete", "x"]);
    expect((await told(clientOf(cancelled))).at(-1)).toEqual(["error", expect.any(RunCancelledError)]);
  });

  test("to a run that has ended with a large result gives it whole", async () => {
    const omitted = snapshot({ status: "completed", output: { omitted: 70_000 } }, "1.0");
    await using server = await ScriptedServer.start(({ path, query }, response) => {
      if (path.endsWith("/stream")) {
        beginStream(response);
        response.end(written(omitted.event, omitted.data, omitted.id));
      } else {
        expect(query).toEqual([["full", "true"]]);
        answerJson(response, { ...RUN, status: "completed", output: "x".repeat(70_000) });
      }
    });

    const outputs: unknown[] = [];
    const events = await told(clientOf(server), { onUpdate: ({ output }) => outputs.push(output) });

    expect(events).toEqual([["complete", "x".repeat(70_000)]]);
    expect(outputs).toEqual(["x".repeat(70_000)]);
  });

  test("tells why it can't go on", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerProblem(response, 404, "run-not-found");
    });

    expect(await told(clientOf(server))).toEqual([["error", expect.any(RunNotFoundError)]]);
  });

  test("tells of nothing once it is ended, and gives its connection back", async () => {
    let closed = Promise.resolve();
    await using server = await ScriptedServer.start((request, response) => {
      closed = request.aborted;
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const text = [snapshot({}, "1.0"), step("a", "2.0"), step("b", "3.0")].map(
        ({ event, data, id }) => `id: ${id ?? ""}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`,
      );
      response.write(text.join(""));
    });
    const found: string[] = [];

    const unsubscribe = clientOf(server).subscribeToRun("r1", {
      onEvent: ({ type }) => found.push(type),
      onStepComplete() {
        unsubscribe();
      },
      onError: () => found.push("error"),
    });
    await vi.waitFor(() => {
      expect(found).toContain("step:complete");
    });
    await closed;

    expect(found).toEqual(["run", "step:complete"]);
  });

  test("goes on though a handler throws, whose error is thrown where nobody catches it", async () => {
    await using server = await pieces([snapshot({}, "1.0"), entry("execution:complete", "1.1", { data: 1 })]);
    const thrown: (() => void)[] = [];
    const real = globalThis.setTimeout;
    const spy = vi.spyOn(globalThis, "setTimeout").mockImplementation((work: () => void, ms?: number) => {
      if (ms !== undefined) return real(work, ms);
      thrown.push(work);
      return real(() => undefined, 0);
    });

    const found = await told(clientOf(server), {
      onUpdate() {
        throw new Error("a mistake of the page");
      },
    });
    spy.mockRestore();

    expect(found).toEqual([["complete", 1]]);
    expect(thrown).toHaveLength(2);
    for (const each of thrown) expect(each).toThrow("a mistake of the page");
  });
});
