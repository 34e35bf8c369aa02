"""`lorakiln review`: a dataset looked through and corrected in the browser, by hand edits beside its pictures.

collection.py    what there is: pictures, captions, buckets, findings
decoded.py       what `prepare` has found by decoding them
small_buckets.py which buckets have fewer pictures than a batch
editing.py       changes to it, which are written as they are made and can be undone
thumbnails.py    pictures made small
server.py        all that by HTTP, for one person on this machine
page/            what the browser runs
"""
