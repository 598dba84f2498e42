// The editor of a live cell; fetched at the first Edit.
import { python } from "@codemirror/lang-python";
import { syntaxHighlighting } from "@codemirror/language";
import { Prec } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import { minimalSetup } from "codemirror";

export function editor(parent, source, { changed, run }) {
  const view = new EditorView({
    doc: source,
    parent,
    extensions: [
      Prec.highest(keymap.of([{ key: "Shift-Enter", run }, { key: "Ctrl-Enter", run }])),
      minimalSetup,
      python(),
      syntaxHighlighting(classHighlighter),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": "code of this cell" }),
      EditorView.updateListener.of((update) => update.docChanged && changed(view.state.doc.toString())),
    ],
  });
  // The page's own shortcuts, such as / for search, are not meant here.
  view.dom.addEventListener("keydown", (event) => event.stopPropagation());
  view.focus();
  return view;
}
