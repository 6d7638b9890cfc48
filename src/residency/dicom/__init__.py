"""DICOM files in; de-identified pictures, their scale, and a table of what was removed out (extra `dicom`)."""
