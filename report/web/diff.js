// What a program should have printed beside what it printed, line by line.

const DIFF_LINES = 400; // of each; the table of the comparison grows with their product

/** [["same" | "missing" | "extra", line], …]: a longest common subsequence of lines; "missing" are expected
 * and not there, "extra" the other way. */
function diffLines(expected, actual) {
  const [a, b] = [expected, actual].map((text) => text.replace(/\n$/, "").split("\n").slice(0, DIFF_LINES));
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(["same", a[i]]);
      i++;
      j++;
    } else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) {
      lines.push(["missing", a[i++]]);
    } else {
      lines.push(["extra", b[j++]]);
    }
  }
  return lines;
}
