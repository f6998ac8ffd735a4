// @vitest-environment jsdom
// On a server nothing is opened; in the page the same HTML is taken over, and comes alive.
import { act } from "@testing-library/react";
import { type ReactNode } from "react";
import { hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { StepflowClient, type Run } from "@stepflow/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StepflowProvider, useRun, useRunStream, useSteps, useTriggerAndFollow } from "../src/index.js";
import { eventually } from "./eventually.js";
import { ScriptedServer } from "./scripted-server.js";

let server: ScriptedServer;
let root: Root | undefined;

beforeEach(async () => {
  server = await ScriptedServer.start();
  server.add("r1");
});

afterEach(async () => {
  act(() => root?.unmount());
  document.body.replaceChildren();
  await server.close();
});

function Page({ initialRun }: { initialRun?: Run<"checkout"> }): ReactNode {
  const { status } = useRun("checkout", "r1", { initialRun });
  const { events } = useRunStream("r1");
  const steps = useSteps("r1");
  const triggered = useTriggerAndFollow("checkout");
  return <p>{`${status} ${events.length} ${steps.length} ${triggered.status}`}</p>;
}

function app(initialRun?: Run<"checkout">): ReactNode {
  const client = new StepflowClient({ baseUrl: server.baseUrl, apiKey: "sf_secret" });
  return (
    <StepflowProvider client={client}>
      <Page {...(initialRun && { initialRun })} />
    </StepflowProvider>
  );
}

/** What a server makes of it, with nothing of a page at hand. */
function onServer(page: ReactNode): string {
  const taken = ["window", "document", "navigator"].map(
    (name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const,
  );
  for (const [name] of taken) Reflect.deleteProperty(globalThis, name);
  try {
    return renderToString(page);
  } finally {
    for (const [name, property] of taken) if (property) Object.defineProperty(globalThis, name, property);
  }
}

async function hydrated(html: string, page: ReactNode): Promise<HTMLElement> {
  const container = document.createElement("div");
  document.body.append(container);
  container.innerHTML = html;
  const mismatches: unknown[] = [];
  await act(async () => {
    root = hydrateRoot(container, page, { onRecoverableError: (error) => mismatches.push(error) });
    await Promise.resolve();
  });
  expect(mismatches).toEqual([]);
  return container;
}

test("a server renders a run that is loading, and asks for nothing", () => {
  expect(onServer(app())).toBe("<p>loading 0 0 idle</p>");
  expect(server.requests).toEqual([]);
});

test("the page takes it over as it is, and then follows the run on one connection", async () => {
  const container = await hydrated(onServer(app()), app());
  await eventually(() => {
    expect(container.textContent).toBe("running 1 0 idle");
  });
  expect(server.count("r1").opened).toBe(1);
});

test("a run that the server read is in the HTML, and the page agrees with it whatever has happened since", async () => {
  const initialRun = { ...server.runOf("r1"), status: "queued" } as Run<"checkout">;
  const html = onServer(app(initialRun));
  expect(html).toBe("<p>queued 0 0 idle</p>");
  const container = await hydrated(html, app(initialRun));
  await eventually(() => {
    expect(container.textContent).toBe("running 1 0 idle");
  });
});

test("without a provider the hooks say what is missing", () => {
  expect(() => onServer(<Page />)).toThrow("there is no <StepflowProvider");
});
