// @vitest-environment jsdom
// The hooks and a real `stepflow serve` that is killed and started anew in the middle of a run.
import { act, render, screen } from "@testing-library/react";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { StrictMode, type ReactNode } from "react";
import { StepflowClient } from "@stepflow/client";
import { expect, onTestFinished, test, vi } from "vitest";
import { CuttingProxy } from "../../typescript/test/support/proxy.js";
import { PUBLIC, SECRET, Stepflow } from "../../typescript/test/support/stepflow.js";
import { StepflowProvider, useRunStream, useSteps, useTriggerAndFollow } from "../src/index.js";

// In a page, import.meta.url is no file: the paths are told from the folder in which the tests are run.
vi.mock("../../typescript/test/support/paths.js", () => {
  const root = `${resolve("../..")}/`;
  return { ROOT: root, python: () => process.env["STEPFLOW_PYTHON"] ?? `${root}.venv/bin/python` };
});

const seen: string[] = [];
let start: (event: string) => Promise<{ runId: string }>;

function Steps({ runId }: { runId: string }): ReactNode {
  const steps = useSteps(runId);
  useRunStream(runId, { onEvent: (event) => event.type === "step:complete" && seen.push(event.key) });
  return <p>{steps.map(({ name, status }) => `${name} ${status}`).join(", ")}</p>;
}

function Talk(): ReactNode {
  const { trigger, status, run, output } = useTriggerAndFollow("two-waits");
  start = trigger;
  return (
    <>
      <h1>{status}</h1>
      <h2>{JSON.stringify(output)}</h2>
      {run && <Steps runId={run.id} />}
    </>
  );
}

/** A server that starts on a busy machine takes its time. */
async function shown(text: string): Promise<void> {
  await screen.findByText(text, {}, { timeout: 60_000 });
}

test("a page follows its run through the server's death to the end: no gap, nothing twice", async () => {
  const folder = mkdtempSync(join(tmpdir(), "stepflow-react-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  await using server = await new Stepflow(`sqlite:///${join(folder, "runs.db")}`).start();
  await using proxy = await CuttingProxy.start(server.port, () => Infinity);
  const operator = (): StepflowClient => new StepflowClient({ baseUrl: server.url, apiKey: SECRET });
  const client = new StepflowClient({ baseUrl: proxy.url, publicApiKey: PUBLIC });
  render(
    <StrictMode>
      <StepflowProvider client={client}>
        <Talk />
      </StepflowProvider>
    </StrictMode>,
  );

  await act(() => start("e"));
  await shown("suspended");
  await operator().notify("e/1", 1);
  await shown("note completed, e/1 completed, note completed, e/2 waiting");

  await server.kill();
  await server.start();
  proxy.port = server.port;
  await operator().notify("e/2", 2);
  await shown("completed");
  expect(screen.getByText('"third"')).toBeDefined();
  expect(screen.getByText(/^note/).textContent).toBe(
    ["note", "e/1", "note", "e/2", "note"].map((name) => `${name} completed`).join(", "),
  );
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.slice(-3)).toEqual(["note:2", "e~12", "note:3"]);
}, 180_000);
