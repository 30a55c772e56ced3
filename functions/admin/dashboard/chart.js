// Charts over time, by uPlot; and the same figures as a table for those who would rather read them.
import { h } from "./dom.js";

const INKS = [["#1f5fc4", "#7fb0ff"], ["#b3261e", "#ff8a80"], ["#8a5a00", "#f0b94d"], ["#1a7340", "#62c98a"]];
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
/** A colour of the style sheet as the canvas takes it. */
function ink(name, box) {
  box.style.color = `var(${name})`;
  const { color } = getComputedStyle(box);
  box.style.color = "";
  return color;
}

/**
 * A chart. `xs` are Unix milliseconds, or plain numbers where `plain` says how they are shown; `series` are
 * `{ name, values, say }`, `say` for their figures in words.
 */
export function chart(title, xs, series, { plain, kind } = {}) {
  const box = h("div.chart", { role: "img", "aria-label": `${title}: the table below has the figures` });
  const says = (x) => (plain ? plain(x) : new Date(x).toISOString().slice(0, 16).replace("T", " "));
  const rows = xs.map((x, at) => h("tr", h("td", says(x)), series.map(({ values, say }) => h("td.n", say(values[at])))));
  const head = h("tr", h("th", { scope: "col" }, plain ? "Setting" : "UTC"), series.map(({ name }) => h("th.n", { scope: "col" }, name)));
  const table = h("table", { "aria-label": title }, h("thead", head), h("tbody", rows));
  const figures = h("details", h("summary", "As a table"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": title }, table));
  const whole = h("section", h("h2", title), box, figures);
  // It is as wide as it is shown, so it is drawn when it is shown.
  let drawn;
  new ResizeObserver(() => {
    const width = Math.floor(box.clientWidth);
    if (!width) return;
    if (drawn) return drawn.width === width || drawn.setSize({ width, height: 210 });
    drawn = draw(box, width, xs, series, says, plain, kind);
  }).observe(box);
  return whole;
}

/** Hours, and the day where one begins. */
const ticks = (_, all) => all.map((at) => {
  const [day, hour] = new Date(at * 1000).toISOString().slice(5, 16).split("T");
  return hour === "00:00" ? day : hour;
});

function draw(box, width, xs, series, says, plain, kind) {
  const dark = isDark() ? 1 : 0;
  const axis = { stroke: ink("--soft", box), grid: { stroke: ink("--line", box), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const lines = series.map(({ name, values, say }, at) => ({
    label: name, stroke: INKS[at % 4][dark], width: 2, points: { show: values.filter((value) => value != null).length < 3 }, value: (_, value) => (value == null ? "–" : say(value)),
    ...(kind === "bars" ? { fill: `${INKS[at % 4][dark]}33`, paths: uPlot.paths.bars({ size: [0.8, 60] }), points: { show: false } } : {}),
  }));
  return new uPlot({
    width, height: 210, scales: { x: { time: !plain }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"), cursor: { drag: { x: false, y: false } },
    axes: [{ ...axis, ...(plain ? { values: (_, all) => all.map(plain) } : { space: 64, values: ticks }) }, { ...axis, size: 62, values: (_, all) => all.map(series[0].say) }],
    series: [{ label: plain ? "setting" : "UTC", value: (_, x) => (x == null ? "–" : says(plain ? x : x * 1000)) }, ...lines],
  }, [plain ? xs : xs.map((x) => x / 1000), ...series.map(({ values }) => values)], box);
}
