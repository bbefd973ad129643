# What a site's part of the workflow does, in abstract steps that no engine can execute.
cwlVersion: v1.2
class: Workflow
label: Summary statistics of one hospital's cohort that may leave
doc: >-
  A Snakemake workflow runs at each hospital. Its patient-level inputs and results stay there; the
  outputs below are all that a data steward is asked to release.
inputs:
  cohort:
    type: Directory
    label: Sequencing reads, variants, counts, matrices and clinical table of the site's patients
  study:
    type: File
    label: Protocol that all sites share
outputs:
  tables:
    type: File[]
    label: Cleared summary tables in Parquet
    outputSource: control_disclosure/tables
  disclosure:
    type: File
    label: Thresholds, and how much was withheld by which rule
    outputSource: control_disclosure/disclosure
steps:
  process_cohort:
    label: Alignment, variants, expression and harmonised clinical data of each patient
    in: {cohort: cohort, study: study}
    out: [patients]
    run:
      class: Operation
      inputs: {cohort: Directory, study: File}
      outputs: {patients: Directory}
  summarise:
    label: Statistics over patients
    in: {patients: process_cohort/patients, study: study}
    out: [summaries]
    run:
      class: Operation
      inputs: {patients: Directory, study: File}
      outputs: {summaries: "File[]"}
  control_disclosure:
    label: Statistical disclosure control
    in: {summaries: summarise/summaries, study: study}
    out: [tables, disclosure]
    run:
      class: Operation
      inputs: {summaries: "File[]", study: File}
      outputs: {tables: "File[]", disclosure: File}
