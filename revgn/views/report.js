const along = new Map();
const redraw = new ResizeObserver((entries) => {
  for (const { target } of entries) Plotly.Plots.resize(target);
});
for (const figure of document.querySelectorAll('.figure')) {
  const about = JSON.parse(figure.firstElementChild.textContent);
  figure.replaceChildren();
  along.set(figure, about.along);
  Plotly.newPlot(figure, about.figure.data, about.figure.layout, { displaylogo: false, showTips: false });
  redraw.observe(figure);
}
for (const input of document.querySelectorAll('input[name=axis]')) {
  input.addEventListener('change', () => {
    for (const [figure, places] of along) {
      Plotly.update(figure, { x: places[input.value] }, { 'xaxis.title.text': input.dataset.title });
    }
  });
}
for (const button of document.querySelectorAll('.legend button')) {
  button.addEventListener('click', () => {
    const visible = button.getAttribute('aria-pressed') === 'false';
    button.setAttribute('aria-pressed', visible);
    for (const figure of along.keys()) {
      const curves = [...figure.data.keys()].filter((k) => figure.data[k].legendgroup === button.value);
      if (curves.length) Plotly.restyle(figure, { visible }, curves);
    }
  });
}
