"""A model's answers in; drafts of reports for the hospital's systems (FHIR, DICOM SR) out, each marked as a draft."""
