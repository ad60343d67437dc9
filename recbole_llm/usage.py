"""What the commands say of themselves. Nothing is imported, so that help is there at once."""

from __future__ import annotations

RUN = """\
usage: run_recbole --model=M --dataset=D [--config_files "a.yaml b.yaml"] [--nproc=K]
                   [--key=value ...]
       run_recbole --resume=RUN_DIR

Trains a model of recbole-llm or of RecBole on a dataset and tests it. Settings are RecBole's and
ours (docs/settings.md), nested ones as --eval_args.mode=full. --nproc=K trains in K processes, one
a GPU, or on the CPU. --resume goes on with a run that was stopped, as if it had not been. The log
goes to stderr; the last line of stdout is the result as JSON."""

ALL = """\
usage: recbole-llm COMMAND ...

  check FILE...                          validate YAML settings and suites, all problems at once
  encode --dataset=D [--shards=K]        encode a dataset's item texts into the cache
  ensemble RUN_DIR... [--filter_seen=B]  evaluate the mean scores of several runs, as of other seeds
  rerank RUN_DIR --by=RUN_DIR [--top=20] put a run's lists in the order of a purchase classifier
  dataset NAME [--from PLACE]            official release of a dataset to atomic files
  dataset --stats NAME [--out FILE.png]  what a dataset is like, in numbers and a picture
  bench SUITE.yaml                       run what a suite wants and its results do not have
  tune SWEEP.yaml                        try settings, choose on validation, test the winner once
  recommend RUN --user=ID                what a finished run recommends, to anyone
  trajectory RUN --user=ID --out=DIR     how a user's interest moved, in pictures and numbers
  explain RUN --user=ID [--item=ID]      which events and words an item is recommended for
  update RUN --inter=FILE                train a finished run on new events, into a new run
  leaderboard DIR [--out=DIR]            tables, figures and a page of the results that bench left

run_recbole --model=M --dataset=D trains and tests a model."""

COMMANDS = {
    "check": """\
usage: recbole-llm check FILE.yaml... [--data_path=FOLDER]

Validates settings of RecBole and of ours, suites of bench and sweeps of tune, in seconds: every
key, value, model and dataset. The problems of all files are named at once. Exit code 2: there are
some.

  --data_path  the folder of datasets of your own that suites and sweeps name""",
    "encode": """\
usage: recbole-llm encode --dataset=D [--key=value ...]
       recbole-llm encode --dataset=D --shards=K [--items=FILE] [--key=value ...]
                          [--address=auto] [--workers=W] [--gpus=1] [--cpus=1]

Encodes item texts into the vector cache, where training finds them. With --shards all texts of
D.item, or of FILE (.item or .parquet), are encoded in K parts, of which one is in memory at a time;
a command that was stopped goes on where it was. See docs/encoders.md.

  --address        on a Ray cluster whose machines share text_cache_dir; auto: the one here
  --workers        the most actors at a time, each with a copy of the model
  --gpus, --cpus   what each actor has""",
    "ensemble": """\
usage: recbole-llm ensemble RUN_DIR... [--filter_seen=false]

Evaluates the mean of the standardised scores of finished runs on the same data and protocol, as of
one model under several seeds. Prints the metrics of validation and test as JSON.

  --filter_seen  whether items of the history are left out; as in the runs by default""",
    "rerank": """\
usage: recbole-llm rerank RUN_DIR --by=CLASSIFIER_RUN_DIR [--top=20]

Puts the --top best items of each of a run's lists in the order of a purchase classifier, a run of
LLMInterestClassifier, and prints what both orders reach on validation and test as JSON
(docs/classifier.md).""",
    "dataset": """\
usage: recbole-llm dataset NAME [--from PLACE] [--out FOLDER] [--force]
       recbole-llm dataset --stats NAME [--out FILE.png] [--key=value ...]

Turns the official release of a dataset, an archive or a folder, into atomic files; without --from
it is downloaded from its official host, where there is one. --stats says what a dataset is like, in
numbers and a picture. Settings as --data_path=FOLDER go behind it (docs/datasets.md).

  --out    where to (dataset/NAME)
  --force  write over what is there""",
    "bench": """\
usage: recbole-llm bench SUITE.yaml [--plan] [--force] [--results DIR] [--only TEXT]
                         [--seeds 1,2] [--data_path FOLDER] [--from DIR,DIR]
                         [--address auto] [--gpus 0.25] [--cpus 1]

Runs what a suite wants and DIR (results/<suite>) has no record of; a run that was stopped goes on.

  --plan       say what is wanted, present, missing and failed and how long it may take; run nothing
  --force      run all again, from the beginning
  --only       the runs whose words in --plan contain TEXT: ruler, dataset, label, seed
  --seeds      the runs with these seeds
  --data_path  the folder of datasets: FOLDER/<dataset>/<dataset>.inter
  --from       take the records of runs of the same model, dataset, seed and settings from other
               folders of results, where another suite has made them
  --address    run on a Ray cluster; auto: the one of this machine
  --gpus, --cpus   what each run has; several run at a time, as Ray tasks

Exit code 1: a run failed; it is tried again at the next call. See docs/benchmarks.md.""",
    "tune": """\
usage: recbole-llm tune SWEEP.yaml [--resume] [--results DIR] [--best FILE] [--data_path FOLDER]
                        [--address auto] [--work DIR]

Tries settings of a model, chooses the best on validation, trains it under several seeds and tests
it once. Every trial is a file in DIR (results/tuning/<sweep>) from its first epoch on.

  --resume     go on with what DIR holds: only what is missing runs
  --best       the YAML that is written (best/<model>@<dataset>.yaml beside the sweep)
  --data_path  the folder of datasets: FOLDER/<dataset>/<dataset>.inter
  --address    run on a Ray cluster; auto: the one of this machine
  --work       folder of what lasts as long as the sweep (saved/tune/<sweep>); on a cluster of
               several machines one that they share

Exit code 1: no trial was sound, a run of the winner failed, or the disk budget is spent. See
docs/tuning.md.""",
    "recommend": """\
usage: recbole-llm recommend RUN WHOM [-k 10] [--items=FILE.item] [--filter_seen=False]
                             [--json] [--device=cuda] [--trust_remote_code] [--approximate]

WHOM is one of
  --user=ID            a user of the run's data, after all of their events
  --history="ID ID"    a history of item ids, oldest first
  --text="TEXT | TEXT" a history of texts, oldest first
  --users=FILE         one of these a line (UTF-8), answered in JSON, a line each
  --histories=FILE
  --texts=FILE

Prints the -k best items with titles and scores, as a table or, with --json, as one line of JSON.
Items of the history are left out unless --filter_seen=False. --items adds items that the run has
not seen, by their text. --approximate searches an index of faiss (extra faiss), which can pay for
many requests of millions of items. An empty line of --histories or --texts is a user of whom
nothing is known, and gets the most popular items. The run's data is not needed
(docs/recommend.md).""",
    "trajectory": """\
usage: recbole-llm trajectory RUN (--user=ID | --history="ID ID") --out=DIR [--device=cuda]
       recbole-llm trajectory RUN --gallery [--users=FILE | --most=12] --out=DIR

How the interest of a user of a finished run moved: after each of their events, the genres, words
and items that it was nearest to, how far the event moved it, and where it turned; the current and
the long-term interest apart. Writes trajectory.json and, as PNG and SVG, heat maps over time, a
path in a plane and the drift of each step. --gallery writes one page, index.html, of the users of
a file, one a line, or of some drawn at random. The run's data is not needed
(docs/movement.md).""",
    "explain": """\
usage: recbole-llm explain RUN (--user=ID | --history="ID ID") [--item=ID] [--event=N]
                           [--instead=ID] [-k 10] [--words] [--json] [--device=cuda]
                           [--trust_remote_code]

Why a finished run recommends an item (--item, or its first recommendation): what each event of the
history does for it, as the model itself says when it reads the history without the event.
--event=N adds the list that there would be without event N; --event=N --instead=ID the list if that
event had been of another item, and --instead=ID alone where the item would stand, event by event.
--words adds which words of which titles the item's score comes from, by integrated gradients. The
run's data is not needed (docs/movement.md).""",
    "update": """\
usage: recbole-llm update RUN --inter=FILE.inter [--items=FILE.item] [--out=DIR]
                          [--epochs=5] [--replay=1] [--learning_rate=R] [--seed=N]
                          [--train_batch_size=N] [--trust_remote_code]

Trains a finished run on the events of FILE.inter (columns of users, items and times as the run's
own), which follow what its users did, and writes a new run directory: --out, or one beside RUN.
The old run stays as it is, and its data is not needed (docs/updating.md).

  --items             texts of items that the run does not know, an .item file as the run's own
  --epochs            passes over the new events; nothing is validated, the last one is kept
  --replay            old targets trained for each new one, drawn anew each epoch; 0 for none
  --learning_rate, --train_batch_size, --seed
                      as the run's own by default""",
    "leaderboard": """\
usage: recbole-llm leaderboard DIR [--out=DIR] [--reference=LABEL]

Tables (Markdown, CSV, LaTeX), figures and a page, index.html, of the results that bench left in DIR
(docs/leaderboard.md).

  --out        where to; DIR by default
  --reference  the row that all others are compared with; by default our model that is best on
               validation""",
}
