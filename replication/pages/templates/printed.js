// Makes a book of the page that holds all chapters; evaluated in Chromium with what the title page says.
(about) => {
  const CHAPTER = "section.book-chapter";
  const place = (id) => document.getElementById(id);
  const made = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // Addresses of other pages lead to places in this one. A chapter's own mark stands before the page on which it begins.
  // Ids may repeat in a book: that of a page which is named is looked for there, and has a name of its own from then on.
  const chapterOf = (mark) => place(mark)?.nextElementSibling?.id;
  const within = (chapter, id) => {
    const found = place(chapter)?.querySelector(`[id="${CSS.escape(id)}"]`);
    if (found && place(id) !== found) found.id = `${chapter}--${id}`;
    return (found ?? place(`${chapter}--${id}`))?.id;
  };
  for (const link of document.querySelectorAll(".bd-article a[href], #jb-print-toc a[href]")) {
    const [page, id] = link.getAttribute("href").split("#");
    if (/^[a-z]+:/.test(page)) continue;
    const whole = "document-notebooks/" + page.replace(/^(\.\.\/)?(notebooks\/)?/, "").replace(/\.html$/, "");
    const chapter = chapterOf(whole);
    const target = id?.startsWith("document-") ? chapterOf(id)
      : id ? within(chapter, id) ?? place(id)?.id : chapter;
    if (target) link.setAttribute("href", "#" + target);
  }

  // A mark between two chapters would have a page of its own.
  for (const mark of document.querySelectorAll('span[id^="document-"]')) {
    mark.nextElementSibling.classList.add("book-chapter");
    mark.nextElementSibling.prepend(mark);
  }

  // Each chapter has a page style of its own, with its title above every page.
  const small = "font-size: 8pt; color: #555;";
  const rules = [
    `@page { size: A4; margin: 18mm 16mm; @bottom-center { content: counter(page); ${small} } }`,
    "@page :first { @bottom-center { content: none; } }",
  ];
  document.querySelectorAll(CHAPTER).forEach((chapter, number) => {
    const title = chapter.querySelector("h1, h2").cloneNode(true);
    title.querySelectorAll(".headerlink").forEach((link) => link.remove());
    const text = JSON.stringify(title.textContent.replace(/\s+/g, " ").trim());
    chapter.style.page = `chapter-${number}`;
    rules.push(`@page chapter-${number} { @top-right { content: ${text}; ${small} } }`);
  });
  document.head.append(made("style", { textContent: rules.join("\n") }));

  // A title page, and contents in the theme's order, each line with room for its page.
  const numbered = (id, kind) => {
    const number = made("span", { className: `page-number ${kind}` });
    number.dataset.target = id;
    return number;
  };
  const title = made("div", { className: "front-title" });
  for (const [name, text] of Object.entries(about)) title.append(made("p", { className: `front-${name}`, textContent: text }));
  const contents = made("div", { className: "front-contents" });
  contents.append(made("p", { className: "front-part", textContent: "Contents" }));
  const line = (id, text) => {
    const link = made("a", { href: "#" + id, className: "front-line" });
    link.append(made("span", { textContent: text }), made("i", {}), numbered(id, "alone"));
    contents.append(link);
  };
  const home = document.querySelector(".bd-article > section");
  if (home) line(home.id, "In short");
  for (const entry of document.querySelectorAll("#jb-print-toc p.caption, #jb-print-toc li.toctree-l1 > a")) {
    if (entry.matches("p")) {
      contents.append(made("p", { className: "front-part", textContent: entry.textContent }));
      continue;
    }
    line(entry.getAttribute("href").slice(1), entry.textContent);
  }
  place("jb-print-docs-body").remove();

  // What moves on the screen is said to be missing where the text speaks of it.
  const missing = "On the screen a figure stands here that answers to the reader.";
  for (const figure of document.querySelectorAll(".explore"))
    figure.after(made("p", { className: "on-screen", textContent: missing }));
  document.querySelector(".bd-article").prepend(title, contents);

  // The page beside each reference to another chapter.
  const references = '.bd-article a.reference.internal[href^="#"]:has(.std-ref, .std-numref)';
  for (const link of document.querySelectorAll(references)) {
    const there = place(link.getAttribute("href").slice(1));
    const chapter = (node) => node.closest(CHAPTER);
    if (!there || link.closest("table, .sd-card") || chapter(there) === chapter(link)) continue;
    link.after(numbered(there.id, "beside"));
  }
}
