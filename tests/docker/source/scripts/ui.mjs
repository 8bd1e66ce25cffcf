import { mkdirSync, writeFileSync } from "node:fs";

mkdirSync("dist", { recursive: true });
writeFileSync("dist/ui.txt", process.env.OPENCLAW_PREFER_PNPM === "1" ? "with its pages" : "without its pages");
