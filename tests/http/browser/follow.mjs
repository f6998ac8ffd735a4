// The part that both readers share. It runs in Node and, as it is, inside a page: nothing here may be imported.

export function follow(Source, address, tell) {
  const names = [
    "run", "step:complete", "step:failed", "run:suspended", "run:resumed", "run:retrying", "run:paused",
    "execution:complete", "execution:failed", "execution:cancelled",
  ];
  return new Promise((resolve) => {
    const source = new Source(address);
    source.onopen = () => tell({ what: "open" });
    source.onerror = () => {
      tell({ what: "error", closed: source.readyState === 2 });
      if (source.readyState === 2) resolve(); // the server's 204 to the reconnect after the end
    };
    for (const name of names) {
      source.addEventListener(name, (message) => {
        tell({ what: "event", event: name, id: message.lastEventId, data: message.data });
      });
    }
  });
}
