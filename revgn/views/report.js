for (const input of document.querySelectorAll('input[name=axis]')) {
  input.addEventListener('change', () => {
    for (const figure of document.querySelectorAll('.over-axes')) {
      const along = JSON.parse(figure.dataset.along);
      Plotly.update(figure, {x: along[input.value]}, {'xaxis.title.text': input.dataset.title});
    }
  });
}
