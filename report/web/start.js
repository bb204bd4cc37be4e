startPlots();
startBrowser().catch((error) => {
  const place = document.getElementById("waiting");
  if (place) place.textContent = `The samples cannot be shown: ${error.message}. A browser of 2023 or newer is needed.`;
});
