// The tour in a page of a browser: node chromium.mjs CHROMIUM ORIGIN SCRIPT SETTINGS; prints the facts.

import { launched } from "../../http/browser/launching.mjs";

const [, , executablePath, origin, script, settings] = process.argv;
const browser = await launched(executablePath);
try {
  const page = await browser.newPage();
  await page.route(`${origin}/`, (route) => route.fulfill({ contentType: "text/html", body: "<title>tour</title>" }));
  await page.goto(`${origin}/`);
  await page.addScriptTag({ path: script });
  console.log(JSON.stringify(await page.evaluate((given) => globalThis.program.tour(given), JSON.parse(settings))));
} finally {
  await browser.close();
}
