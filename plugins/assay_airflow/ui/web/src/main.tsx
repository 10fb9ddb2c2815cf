// Assay's pages in Airflow. One document; the page and its whole state are in the query string.
import { render } from "preact";
import { App } from "./shell/app";
import { followTheme } from "./shell/theme";

followTheme();
const home = document.getElementById("app");
if (home) render(<App />, home);
