// Python in colours: enough of its words to read by, one pass, linear in the text whatever that is.

const WORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from " +
    "global if import in is lambda nonlocal not or pass raise return try while with yield match case").split(" "),
);
const BUILTINS = new Set(
  ("abs all any bin bool bytes chr dict divmod enumerate eval exec filter float format getattr hex input int " +
    "isinstance iter len list map max min next object oct open ord pow print range repr reversed round set " +
    "sorted str sum super tuple type zip").split(" "),
);
const TOKEN = new RegExp(
  [
    "(?<comment>#[^\\n]*)",
    "(?<string>[rRbBuUfF]{0,2}(?:\"\"\"[^]*?(?:\"\"\"|$)|'''[^]*?(?:'''|$)|\"(?:\\\\[^]|[^\"\\\\\\n])*\"?|'(?:\\\\[^]|[^'\\\\\\n])*'?))",
    "(?<number>\\b[0-9][0-9A-Fa-fxXoObBeE_.]*)",
    "(?<name>[\\p{L}_][\\p{L}\\p{N}_]*)",
  ].join("|"),
  "gu",
);

/** A program as [[kind or null, text], …]; the texts together are the program. */
function pythonTokens(program) {
  const parts = [];
  let end = 0;
  for (const found of program.matchAll(TOKEN)) {
    if (found.index > end) parts.push([null, program.slice(end, found.index)]);
    const { comment, string, number, name } = found.groups;
    const kind = comment
      ? "comment"
      : string
        ? "string"
        : number
          ? "number"
          : WORDS.has(name)
            ? "word"
            : BUILTINS.has(name)
              ? "builtin"
              : null;
    parts.push([kind, found[0]]);
    end = found.index + found[0].length;
  }
  if (end < program.length) parts.push([null, program.slice(end)]);
  return parts;
}

/** The same by lines: [[[kind, text], …], …]. */
function pythonLines(program) {
  const lines = [[]];
  for (const [kind, text] of pythonTokens(program.replaceAll("\r\n", "\n"))) {
    text.split("\n").forEach((piece, i) => {
      if (i > 0) lines.push([]);
      if (piece) lines.at(-1).push([kind, piece]);
    });
  }
  if (lines.length > 1 && lines.at(-1).length === 0) lines.pop();
  return lines;
}
