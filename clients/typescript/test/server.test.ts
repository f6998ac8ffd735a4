// The client against a real `stepflow serve`: connections cut at random, a server killed in the middle, tokens that expire.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EventConflictError,
  ForbiddenError,
  InputError,
  OperationRefusedError,
  RunConflictError,
  RunFailedError,
  RunNotFoundError,
  StepflowClient,
  TokenManager,
  UnauthenticatedError,
  UnknownWorkflowError,
  type Run,
  type Step,
  type StepflowClientOptions,
  type StreamEvent,
} from "../src/index.js";
import { pause } from "../src/time.js";
import { CuttingProxy } from "./support/proxy.js";
import { seeded } from "./support/random.js";
import { PUBLIC, SECRET, Stepflow } from "./support/stepflow.js";

const SEED = Number(process.env["STEPFLOW_SEED"] ?? Date.now() % 1_000_000);

/** A client whose pauses are short: what is waited for is never a pause, but an answer. */
function clientAt(url: string, options: Partial<StepflowClientOptions> = { apiKey: SECRET }): StepflowClient {
  const short: StepflowClientOptions["pause"] = (ms, signal) => pause(Math.min(ms, 20), signal);
  return new StepflowClient({ baseUrl: url, pause: short, ...options });
}

async function journal(events: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const found: StreamEvent[] = [];
  const transient = ["step:start", "step:retry", "log"];
  for await (const event of events) if (!transient.includes(event.type)) found.push(event);
  return found;
}

let server: Stepflow;
let client: StepflowClient;

beforeAll(async () => {
  server = await new Stepflow().start();
  client = clientAt(server.url);
});

afterAll(async () => {
  await server.kill();
});

describe("a run", () => {
  test("is started, followed and read", async () => {
    const run = await client.trigger("order", { id: "a", lines: [1, 2, 3] }, { tags: { tenant: "acme" } });
    expect(run.created).toBe(true);
    expect(await client.waitForResult(run.runId)).toBe(6);
    expect(await client.getRun(run.runId)).toMatchObject({ status: "completed", tags: { tenant: "acme" } });
    const { items } = await client.listRuns({ tags: { tenant: "acme" }, status: ["completed"], limit: 1 });
    expect(items.map(({ id }) => id)).toEqual([run.runId]);
    expect((await client.listSteps(run.runId)).items.map(({ name }) => name)).toEqual(["note"]);
    expect((await client.listWorkflows()).map(({ id }) => id)).toContain("order");
    expect((await client.health()).status).toBe("ok");
  });

  test("is started and streamed in one call", async () => {
    const events = await journal(client.stream("talk", 3));
    expect(events.map(({ type }) => type)).toEqual([
      "run:resumed",
      "step:complete",
      "step:complete",
      "step:complete",
      "execution:complete",
    ]);
    expect(events.at(-1)).toMatchObject({ data: 3 });
  });

  test("has a result of any size", async () => {
    const { runId } = await client.trigger("large", 200_000);
    expect(await client.waitForResult(runId)).toBe("x".repeat(200_000));
    const events = await journal(client.stream("large", 100_000));
    expect(events.at(-1)).toMatchObject({ type: "execution:complete", data: "x".repeat(100_000) });
  });

  test("is paused, resumed, cancelled, retried and deleted", async () => {
    const { runId } = await client.trigger("wait", "never", { delay: "1h" });
    expect((await client.pauseRun(runId)).status).toBe("paused");
    expect((await client.waitForRun(runId)).status).toBe("paused");
    await client.resumeRun(runId);
    expect((await client.cancelRun(runId, { force: true })).status).toBe("cancelled");
    await expect(client.pauseRun(runId)).rejects.toThrow(OperationRefusedError);
    await client.retryRun(runId);
    await client.cancelRun(runId, { force: true });
    await client.deleteRun(runId);
    await expect(client.getRun(runId)).rejects.toThrow(RunNotFoundError);
  });

  test("and its events meet", async () => {
    const { runId } = await client.trigger("wait", "paid/é ☃/17");
    await client.notify("paid/é ☃/17", { amount: 5 });
    expect(await client.waitForResult(runId)).toEqual({ amount: 5 });
    await client.notify("decision", "yes", { once: true });
    await expect(client.notify("decision", "no", { once: true })).rejects.toMatchObject({ first: "yes" });
    await expect(client.notify("decision", "no", { once: true })).rejects.toThrow(EventConflictError);
  });

  test("is refused with reasons", async () => {
    await expect(client.trigger("ordr", 1)).rejects.toThrow(UnknownWorkflowError);
    await expect(client.trigger("ordr", 1)).rejects.toMatchObject({ nearest: ["order"] });
    await expect(client.trigger("order", { id: "a", lines: ["x"] })).rejects.toThrow(InputError);
    await client.trigger("echo", 1, { idempotencyKey: "k" });
    await expect(client.trigger("echo", 2, { idempotencyKey: "k" })).rejects.toThrow(RunConflictError);
    await expect(clientAt(server.url, { apiKey: "sf_wrong" }).getRun("r")).rejects.toThrow(
      UnauthenticatedError,
    );
  });
});

describe("a subscription", () => {
  test("tells of every step, of the result, and then of nothing", async () => {
    const { runId } = await client.trigger("talk", 5);
    const steps: Step[] = [];
    const runs: Run[] = [];

    const result = await new Promise((resolve, reject) => {
      client.subscribeToRun(runId, {
        onUpdate: (run) => runs.push(run),
        onStepComplete: (step) => steps.push(step),
        onComplete: resolve,
        onError: reject,
      });
    });

    expect(result).toBe(5);
    expect(steps.map((step) => step.result)).toEqual([0, 1, 2, 3, 4]);
    const { steps: _now, ...last } = runs.at(-1) as Run;
    const { steps: _then, ...read } = await client.getRun(runId);
    expect(last).toEqual(read);
  });

  test("tells of a failure", async () => {
    const { runId } = await client.trigger("fail", "no luck");

    const error = await new Promise((resolve) => client.subscribeToRun(runId, { onError: resolve }));

    expect(error).toBeInstanceOf(RunFailedError);
    expect(error).toMatchObject({ failure: { type: "ValueError", message: "no luck" } });
  });
});

describe("a browser with a public key", () => {
  test("starts what is public, watches that, and nothing else", async () => {
    const browser = clientAt(server.url, { publicApiKey: PUBLIC });

    const { runId, publicAccessToken } = await browser.trigger("talk", 2);

    expect(await browser.waitForResult(runId)).toBe(2);
    expect((await journal(browser.streamRun(runId))).at(-1)).toMatchObject({ run: { status: "completed" } });
    expect(await journal(browser.stream("talk", 1))).toHaveLength(3);
    const other = await client.trigger("echo", 1);
    const accessToken = publicAccessToken ?? "";
    await expect(browser.getRun(other.runId, { accessToken })).rejects.toThrow(RunNotFoundError);
    await expect(browser.listRuns()).rejects.toThrow(ForbiddenError);
  });

  test("whose token expires in the middle of a stream gets a fresh one and misses nothing", async () => {
    const { runId } = await client.trigger("two-waits", "token");
    const short = await client.createRunToken(runId, { lifetime: "1s" });
    let refreshed = (): void => undefined;
    const expired = new Promise<void>((resolve) => (refreshed = resolve));
    const tokens = new TokenManager({
      now: () => 0, // this browser's clock is wrong, so it is the server that notices
      refresh: async (id) => {
        const { publicAccessToken, expiresAt } = await client.createRunToken(id);
        refreshed();
        return { token: publicAccessToken, expiresAt };
      },
    });
    await tokens.set(runId, short.publicAccessToken, short.expiresAt);
    const browser = clientAt(server.url, { publicApiKey: PUBLIC, tokens });

    const followed = journal(browser.streamRun(runId, { lastEventId: "0" }));
    await expired;
    await client.notify("token/1", 1);
    await client.notify("token/2", 2);

    expect(await followed).toEqual(await journal(client.streamRun(runId, { lastEventId: "0" })));
  });
});

describe("connections that are cut at random", () => {
  test(`make no gap and nothing twice (seed ${SEED})`, async () => {
    const random = seeded(SEED);
    await using proxy = await CuttingProxy.start(server.port, () => Math.floor(random() ** 2 * 4000));
    const shaken = clientAt(proxy.url, { apiKey: SECRET, attempts: 1000, timeout: 600_000 });
    const sizes = Array.from({ length: 6 }, () => Math.floor(random() * 60));

    const started = await Promise.all(sizes.map((size) => shaken.trigger("talk", size)));
    const followed = await Promise.all(
      started.map(({ runId }) => journal(shaken.streamRun(runId, { lastEventId: "0" }))),
    );

    for (const [index, { runId }] of started.entries()) {
      expect(followed[index]).toEqual(await journal(client.streamRun(runId, { lastEventId: "0" })));
      expect(followed[index]?.at(-1)).toMatchObject({ type: "execution:complete", data: sizes[index] });
    }
    expect(proxy.cuts).toBeGreaterThan(sizes.length);
  });

  test(`make no gap and nothing twice in the stream of several runs (seed ${SEED})`, async () => {
    const random = seeded(SEED + 1);
    await using proxy = await CuttingProxy.start(server.port, () => 500 + Math.floor(random() * 3000));
    const shaken = clientAt(proxy.url);
    const started = await Promise.all([10, 20, 30].map((size) => client.trigger("talk", size)));
    const runIds = started.map(({ runId }) => runId);

    const followed = await journal(shaken.streamRuns(runIds, { lastEventId: "0" }));

    for (const runId of runIds) {
      const own = followed.filter((event) => event.runId === runId);
      expect(own).toEqual(await journal(client.streamRun(runId, { lastEventId: "0" })));
    }
    expect(proxy.cuts).toBeGreaterThan(0);
  });

  test(`leave a subscription's picture whole (seed ${SEED})`, async () => {
    const random = seeded(SEED + 2);
    await using proxy = await CuttingProxy.start(server.port, () => 300 + Math.floor(random() ** 2 * 30_000));
    const { runId } = await client.trigger("talk", 40);
    const steps: unknown[] = [];

    const result = await new Promise((resolve, reject) => {
      const onStepComplete = ({ result }: Step): unknown => steps.push(result);
      clientAt(proxy.url).subscribeToRun(runId, { onStepComplete, onComplete: resolve, onError: reject });
    });

    expect(result).toBe(40);
    expect(steps).toEqual(Array.from({ length: 40 }, (_, index) => index));
  });
});

describe("a server that is killed in the middle of a stream", () => {
  test("and started again is found again, and nothing is missed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "stepflow-"));
    await using mortal = await new Stepflow(`sqlite:///${join(folder, "runs.db")}`).start();
    await using proxy = await CuttingProxy.start(mortal.port, () => Infinity);
    const reader = clientAt(proxy.url);
    const { runId } = await reader.trigger("two-waits", "e");
    const followed: StreamEvent[] = [];
    let suspended = (): void => undefined;
    const waiting = new Promise<void>((resolve) => (suspended = resolve));

    const done = (async () => {
      for await (const event of reader.streamRun(runId, { lastEventId: "0" })) {
        if (event.type === "run:suspended") suspended();
        if (!["step:start", "step:retry", "log"].includes(event.type)) followed.push(event);
      }
    })();
    await waiting;
    await mortal.kill();
    await mortal.start();
    proxy.port = mortal.port;
    await reader.notify("e/1", 1);
    await reader.notify("e/2", 2);
    await done;

    expect(followed).toEqual(await journal(reader.streamRun(runId, { lastEventId: "0" })));
    expect(followed.at(-1)).toMatchObject({ type: "execution:complete", data: "third" });
    rmSync(folder, { recursive: true });
  });
});
