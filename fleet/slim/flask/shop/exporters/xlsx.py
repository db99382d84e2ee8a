import io


def write(dishes):
    from openpyxl import Workbook

    book = Workbook()
    for row in dishes.items():
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue(), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
