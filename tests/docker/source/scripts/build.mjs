import { mkdirSync, writeFileSync } from "node:fs";
import isNumber from "is-number";

mkdirSync("dist", { recursive: true });
writeFileSync("dist/built.txt", isNumber(1) ? "built" : "not built");
