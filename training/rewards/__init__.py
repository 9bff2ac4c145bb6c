"""What a picture is worth: one class for each way to tell, behind one protocol."""
