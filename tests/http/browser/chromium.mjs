// Reads a run's stream with Chromium's own EventSource, in a page of another origin; prints what arrived, a line each.
// node chromium.mjs CHROMIUM PAGE URL

import { follow } from "./follow.mjs";
import { launched } from "./launching.mjs";

const [, , executablePath, origin, address] = process.argv;
const browser = await launched(executablePath);
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
