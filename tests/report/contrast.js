// Texts in view that do not stand out from what is behind them: 4.5 : 1, on the bars of stages 3 : 1 (WCAG 2.2).
(() => {
  const colour = (css) => {
    const [r, g, b, alpha = 1] = css.match(/[\d.]+/g).map(Number);
    const scale = css.startsWith("color(") ? 255 : 1;
    return [r * scale, g * scale, b * scale, alpha];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const [r, g, b, alpha] = colour(getComputedStyle(element).backgroundColor);
    const below = alpha < 1 ? behind(element.parentElement) : [0, 0, 0];
    return [r, g, b].map((c, i) => c * alpha + below[i] * (1 - alpha));
  };
  const poor = [];
  for (const element of document.querySelectorAll("main *:not(svg, svg *, option, script, noscript)")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility() || element.disabled) continue;
    const [low, high] = [light(colour(getComputedStyle(element).color).slice(0, 3)), light(behind(element))].sort(
      (a, b) => a - b,
    );
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (element.closest(".stack") ? 3 : 4.5)) poor.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return poor;
})()
