// Chooses which images and proposals of the gallery are shown. Without it, all are.
const tools = document.getElementById("tools");
if (tools) {
  const find = (name) => document.getElementById(name);
  const articles = [...document.querySelectorAll("article")];
  const links = [...document.querySelectorAll("#contents a")];
  let place = 0;

  function show(number) {
    place = Math.min(Math.max(number, 0), articles.length - 1);
    const whole = find("whole").checked;
    articles.forEach((article, index) => article.classList.toggle("other-page", !whole && index !== place));
    links.forEach((link, index) => link.setAttribute("aria-current", String(!whole && index === place)));
    find("previous").disabled = whole || place === 0;
    find("next").disabled = whole || place === articles.length - 1;
    find("place").textContent = whole ? `${articles.length} images` : `image ${place + 1} of ${articles.length}`;
    if (!whole) links[place].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function filter() {
    const kinds = [...document.querySelectorAll('input[name="kind"]:checked')].map((box) => box.value);
    const [low, high] = ["low", "high"].map((name) => Number(find(name).value));
    for (const name of ["low", "high"]) find(`${name}-value`).textContent = Number(find(name).value).toFixed(2);
    const wanted = find("class")?.value ?? "";
    articles.forEach((article, index) => {
      let shown = 0;
      for (const section of article.querySelectorAll("section")) {
        let own = 0;
        for (const figure of section.querySelectorAll(".proposal")) {
          const granularity = Number(figure.dataset.granularity);
          const fits = kinds.includes(figure.dataset.kind) && granularity >= low && granularity <= high;
          figure.classList.toggle("filtered", !fits);
          own += fits;
        }
        const ofClass = wanted === "" || section.dataset.class === wanted;
        section.classList.toggle("filtered", !ofClass);
        if (ofClass) shown += own;
      }
      links[index].classList.toggle("empty", shown === 0);
    });
  }

  // A link to an image, or to a proposal in it, opens its image.
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const article = target?.closest("article");
    if (!article) return;
    show(articles.indexOf(article));
    if (target !== article) target.scrollIntoView();
  }

  tools.hidden = false;
  links.forEach((link, index) =>
    link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", link.hash);
      show(index);
    }),
  );
  find("previous").addEventListener("click", () => show(place - 1));
  find("next").addEventListener("click", () => show(place + 1));
  find("whole").addEventListener("change", () => show(place));
  tools.addEventListener("input", filter);
  for (const choice of document.querySelectorAll('input[name="over"]')) {
    choice.addEventListener("change", () => (document.body.dataset.over = choice.value));
  }
  window.addEventListener("hashchange", follow);
  show(0);
  filter();
  follow();
}
