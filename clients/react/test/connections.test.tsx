// @vitest-environment jsdom
// One run is one connection, whoever watches it, for as long as anybody does.
import { act, render, screen } from "@testing-library/react";
import { StrictMode, useState, type ReactNode } from "react";
import { StepflowClient } from "@stepflow/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StepflowProvider, useRun, useRunStream, useSteps } from "../src/index.js";
import { eventually } from "./eventually.js";
import { ScriptedServer } from "./scripted-server.js";

let server: ScriptedServer;
let client: StepflowClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  server.add("r1");
  client = new StepflowClient({ baseUrl: server.baseUrl, apiKey: "sf_secret" });
});

afterEach(async () => {
  await server.close();
});

function Status({ run = "r1" }: { run?: string | null }): ReactNode {
  const { status, connection } = useRun(run);
  return <li data-connection={connection}>{status}</li>;
}

function Steps(): ReactNode {
  return <p>{useSteps("r1").length} steps</p>;
}

function page(children: ReactNode): ReactNode {
  return <StepflowProvider client={client}>{children}</StepflowProvider>;
}

function many(count: number): ReactNode {
  return Array.from({ length: count }, (_, index) => <Status key={index} />);
}

async function shown(...texts: string[]): Promise<void> {
  await eventually(() => {
    expect(screen.getAllByRole("listitem").map((item) => item.textContent)).toEqual(texts);
  });
}

describe("a connection", () => {
  test("is shared by all components that watch the run, whatever they watch of it", async () => {
    render(page([many(20), <Steps key="steps" />]));
    await shown(...Array<string>(20).fill("running"));

    server.tell("r1", { type: "step:complete", stepName: "charge", key: "charge", attempt: 1, result: 1 });
    await screen.findByText("1 steps");
    server.tell("r1", { type: "execution:complete", data: { receipt: "r" } });
    await shown(...Array<string>(20).fill("completed"));

    expect(server.count("r1")).toEqual({ opened: 1, open: 0 });
  });

  test("is made once though Strict Mode mounts everything twice", async () => {
    render(<StrictMode>{page(many(3))}</StrictMode>);
    await shown("running", "running", "running");
    server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });
    await shown("paused", "paused", "paused");

    expect(server.count("r1")).toEqual({ opened: 1, open: 1 });
  });

  test("stays while one watches, and closes after the last has gone", async () => {
    server.add("r2");
    const rows = (count: number, other: boolean): ReactNode =>
      page(
        [...Array(3).keys(), 3].map(
          (row) =>
            (row < count || (row === 3 && other)) && <Status key={row} run={row === 3 ? "r2" : "r1"} />,
        ),
      );
    const { rerender } = render(rows(3, true));
    await shown("running", "running", "running", "running");

    // A run that is left later, and closed by now, shows that the first one's time would be up, too.
    rerender(rows(1, true));
    rerender(rows(1, false));
    await eventually(() => {
      expect(server.count("r2")).toEqual({ opened: 1, open: 0 });
    });
    expect(server.count("r1")).toEqual({ opened: 1, open: 1 });

    rerender(page(null));
    await eventually(() => {
      expect(server.count("r1")).toEqual({ opened: 1, open: 0 });
    });
  });

  test("outlives a component that makes way for another one", async () => {
    const { rerender } = render(page(<Status key="one" />));
    await shown("running");
    rerender(page(null));
    rerender(page(<Status key="other" />));
    await shown("running");

    server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });
    await shown("paused");
    expect(server.count("r1").opened).toBe(1);
  });

  test("is made anew for who comes back later; what was known is shown meanwhile", async () => {
    const { rerender } = render(page(<Status />));
    await shown("running");
    rerender(page(null));
    await eventually(() => {
      expect(server.count("r1").open).toBe(0);
    });
    server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });

    rerender(page(<Status />));
    expect(screen.getByRole("listitem").textContent).toBe("running");
    await shown("paused");
    expect(server.count("r1").opened).toBe(2);
  });

  test("that is cut is made again behind the last event: no gap, nothing twice", async () => {
    const seen: string[] = [];
    function Stream(): ReactNode {
      const { events } = useRunStream("r1", { onEvent: (event) => seen.push(event.type) });
      return <p>{events.map(({ type }) => type).join(" ")}</p>;
    }
    render(page([<Stream key="stream" />, <Status key="status" />]));
    await shown("running");
    for (const key of ["a", "b", "c"]) {
      server.tell("r1", { type: "step:complete", stepName: key, key, attempt: 1, result: null });
      await eventually(() => {
        expect(seen.at(-1)).toBe("step:complete");
      });
      server.cut("r1");
      server.tell("r1", { type: "run:suspended", wakeAt: null, waits: [] });
      await eventually(() => {
        expect(seen.at(-1)).toBe("run:suspended");
      });
    }
    const all = ["run", ...Array<string[]>(3).fill(["step:complete", "run:suspended"]).flat()];
    expect(seen).toEqual(all);
    await screen.findByText(all.join(" "));
    expect(server.asked("r1").cursors).toEqual([undefined, "1.0", "3.0", "5.0"]);
  });

  test("follows the run that a component is about now", async () => {
    server.add("r2", { status: "suspended" });
    const { rerender } = render(page(<Status run="r1" />));
    await shown("running");
    rerender(page(<Status run="r2" />));
    await shown("suspended");
    rerender(page(<Status run={null} />));
    expect(screen.getByRole("listitem").textContent).toBe("idle");
    for (const run of ["r1", "r2"]) {
      await eventually(() => {
        expect(server.count(run)).toEqual({ opened: 1, open: 0 });
      });
    }
  });

  test("is the provider's client's: another client has its own", async () => {
    const other = new StepflowClient({ baseUrl: server.baseUrl, apiKey: "sf_other" });
    render(
      <>
        <StepflowProvider client={client}>{many(2)}</StepflowProvider>
        <StepflowProvider client={client}>{many(2)}</StepflowProvider>
        <StepflowProvider client={other}>{many(2)}</StepflowProvider>
      </>,
    );
    await shown(...Array<string>(6).fill("running"));
    expect(server.count("r1").opened).toBe(2);
  });
});

describe("rendering", () => {
  test("takes what comes in one piece at once", async () => {
    let renders = 0;
    function Counted(): ReactNode {
      renders++;
      return <p>{useRun("r1").steps.length} steps</p>;
    }
    render(page(<Counted />));
    await screen.findByText("0 steps");
    await eventually(() => {
      expect(server.count("r1").open).toBe(1);
    });
    renders = 0;
    server.tell(
      "r1",
      ...Array.from({ length: 300 }, (_, index) => {
        const key = `s${index}`;
        return { type: "step:complete" as const, stepName: key, key, attempt: 1, result: null };
      }),
    );
    await screen.findByText("300 steps");
    expect(renders).toBeLessThan(30);
  });

  test("of steps alone is not repeated for what is no step", async () => {
    let renders = 0;
    function Counted(): ReactNode {
      renders++;
      return <p>{useSteps("r1").length} steps</p>;
    }
    render(page([<Counted key="steps" />, <Status key="status" />]));
    await shown("running");
    renders = 0;
    server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });
    await shown("paused");
    expect(renders).toBe(0);
  });

  test("does not happen in a component that has gone", async () => {
    let remove = (): void => undefined;
    let renders = 0;
    function Gone(): ReactNode {
      renders++;
      useRunStream("r1");
      return useRun("r1").status;
    }
    function Page(): ReactNode {
      const [there, setThere] = useState(true);
      remove = () => {
        setThere(false);
      };
      return [there && <Gone key="gone" />, <Status key="status" />];
    }
    render(page(<Page />));
    await shown("running");
    act(remove);
    renders = 0;
    server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });
    await shown("paused");
    expect(renders).toBe(0);
  });
});
