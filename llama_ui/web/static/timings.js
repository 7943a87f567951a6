/* The "Time" tab: for each turn a bar of waiting, first token and generation, all on one scale, and its statistics. */
const timings = (history) => {
  const PARTS = {waited: "Waiting", first: "First token", generating: "Generating"};
  const escape = (text) => Object.assign(document.createElement("i"), {textContent: text}).innerHTML;
  const turns = chat.receipts(history);
  if (!turns.length) return "<p>Timings appear after your first message.</p>";
  const total = ({numbers}) => Object.keys(PARTS).reduce((sum, part) => sum + (numbers[part] ?? 0), 0);
  const longest = Math.max(...turns.map(total), 0.001);
  const legend = Object.entries(PARTS).map(([part, name]) => `<span><i class="${part}"></i>${name}</span>`);
  const rows = turns.map((turn, i) => {
    const bars = Object.entries(PARTS).map(([part, name]) => {
      const seconds = turn.numbers[part] ?? 0;
      return `<i class="${part}" style="width: ${(100 * seconds) / longest}%" title="${name}: ${seconds.toFixed(2)} s"></i>`;
    });
    return `<tr><th>${i + 1}</th><td><div class="bar" role="img" aria-label="${total(turn).toFixed(2)} s">${bars.join("")}</div>
      <small>${escape(turn.line)}</small></td><td>${total(turn).toFixed(2)} s</td></tr>`;
  });
  return `<p class="legend">${legend.join("")}</p><table>${rows.join("")}</table>`;
};
