// The shapes of the server's answers. Numbers are unrounded, times ISO 8601 in UTC, and what is missing is null.

export type Outcome = "worse" | "better" | "same" | "unclear" | null;

export interface Interval {
  value: number | null;
  low: number | null;
  high: number | null;
}

export interface MetricFacts {
  name: string;
  label: string;
  unit?: string | null;
  higher_is_better?: boolean | null;
  gating?: boolean;
  margin?: number | null;
}

export interface MeasuredMetric extends Interval {
  n: number | null;
  difference: Interval | null;
  outcome: Outcome;
}

export interface CheckpointRow {
  run: string;
  checkpoint: string;
  step: number | null;
  training_run: string | null;
  created: string | null;
  verdict: string | null;
  accepted: boolean;
  reason: string | null;
  baseline_run: string | null;
  captions: number | null;
  coverage: number | null;
  report: boolean;
  dag_run: { dag_id: string; run_id: string } | null;
  metrics: Record<string, MeasuredMetric>;
}

export interface LiveValidation {
  dag_id: string;
  run_id: string;
  checkpoint: string | null;
  suite: string | null;
  stage: string | null;
  done: number | null;
  total: number | null;
  started: string | null;
}

export interface Checkpoints {
  suite: string;
  metrics: MetricFacts[];
  rows: CheckpointRow[];
  live: LiveValidation[];
  problems?: string[];
}

export interface Suites {
  suites: { name: string; runs: number; newest: string | null }[];
}

export interface Phase {
  name: string;
  started: string | null;
  seconds: number | null;
}

export interface FunnelStep {
  label: string;
  count: number | null;
  reasons: Record<string, number> | null;
}

export interface RunFacts {
  run: string;
  checkpoint: string;
  suite: string | null;
  verdict: string | null;
  sentence: string | null;
  rests_on: Record<string, unknown>;
  funnel: FunnelStep[];
  phases: Phase[];
  engine: Record<string, unknown>;
  links: { report: string | null; ray_job: string | null; dag_run: string | null };
  metrics: Record<string, MeasuredMetric>;
  about?: MetricFacts[];
  baseline_run: string | null;
  record: unknown;
  problems?: string[]; // files that could not be read, one line each
}

export interface Comparison {
  left: number | null;
  right: number | null;
  difference: number | null;
  low: number | null;
  high: number | null;
  p: number | null;
  n: number | null;
  outcome: Outcome;
}

export interface ComparedSlice extends Comparison {
  name: string;
  value: string;
}

export interface ComparedMetric extends Comparison, MetricFacts {
  slices: ComparedSlice[];
}

export interface Compared {
  left: string;
  right: string;
  comparable: boolean;
  problems: string[];
  metrics: ComparedMetric[];
}

export interface CaptionSide {
  caption: string | null;
  status: string | null;
  failure: string | null;
  cut?: boolean;
}

export interface PairRow {
  key: string;
  image: string | null;
  width: number | null;
  height: number | null;
  label: string | null;
  references: string[];
  left: CaptionSide | null;
  right: CaptionSide | null;
  metrics: Record<string, { left: number | null; right: number | null; difference: number | null }>;
  judge: { left: string | null; right: string | null } | null;
}

export interface Pairs {
  left: string | null;
  right: string;
  total: number;
  metrics: string[];
  about?: MetricFacts[];
  sort?: string;
  by?: string;
  order?: string;
  rows: PairRow[];
}

export interface Histogram {
  metric: string;
  edges: number[];
  counts: number[];
  missing: number;
}

export interface Person {
  name: string;
  may: { decide?: boolean; label?: boolean };
}
