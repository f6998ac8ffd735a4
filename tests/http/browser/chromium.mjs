// Reads a run's stream with Chromium's own EventSource, in a page of another origin; prints what arrived, a line each.
// node chromium.mjs CHROMIUM PAGE URL

import { chromium } from "playwright-core";
import { follow } from "./follow.mjs";

const [, , executablePath, origin, address] = process.argv;
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    // A page of localhost would have to ask the user before it reads from loopback.
    "--disable-features=LocalNetworkAccessChecks",
  ],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  page.on("requestfailed", (request) => console.error(request.url().split("?")[0], request.failure()));
  await page.route(`${origin}/`, (route) => route.fulfill({ contentType: "text/html", body: "<title>reader</title>" }));
  await page.goto(`${origin}/`);
  await page.exposeFunction("tell", (line) => process.stdout.write(`${JSON.stringify(line)}\n`));
  await page.evaluate(
    ([source, url]) => (0, eval)(`(${source})`)(EventSource, url, globalThis.tell),
    [follow.toString(), address],
  );
} finally {
  await browser.close();
}
